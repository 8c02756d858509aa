"""Errors of the API as problem details (RFC 9457), with their status and their headers."""

import logging
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework import exceptions
from rest_framework.response import Response

from kernel.db import is_timeout
from kernel.errors import RuleViolation
from kernel.limits import MAX_ERROR_LENGTH, MAX_ERRORS
from kernel.problems import CONTENT_TYPE, Problem, WrongParameter, problem

logger = logging.getLogger(__name__)


def refusal_status(code: str) -> int:
    """The status of a refusal by the rules: 409, unless the request can never succeed as it is, or
    needs nothing but time.
    """
    return {"NO_CONNECTION": 422, "NOT_EXPORTABLE": 422, "TOO_MANY_TESTS": 429}.get(code, 409)


def problem_details(error: Exception, context: dict[str, Any]) -> Response | None:
    """An error as application/problem+json (RFC 9457). Source: DRF's EXCEPTION_HANDLER."""
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    elif isinstance(error, RuleViolation):
        status = refusal_status(error.code)
        error = Problem(status, error.code, error.message, **error.extra)
    elif is_timeout(error):
        logger.warning("the database stopped a statement that took too long")
        error = Problem(
            503,
            "timeout",
            _(
                "The query took too long and was stopped. Narrow the list with filters, or choose "
                "a smaller page_size."
            ),
        )
    elif isinstance(error, OperationalError | InterfaceError):
        logger.error("the database does not answer as it should", exc_info=error)
        error = Problem(
            503, "unavailable", _("The database does not answer. Try again in a few seconds.")
        )
    if not isinstance(error, exceptions.APIException):
        return None
    if isinstance(error, Problem):
        said = {"code": error.code, "detail": str(error.detail), **error.extra}
    elif isinstance(error, exceptions.ValidationError):
        found = (
            _parameter_errors(error.detail)
            if isinstance(error, WrongParameter)
            else _field_errors(error.detail, "")
        )
        errors = [_shortened(e) for e in islice(found, MAX_ERRORS)]
        # The last ones may not have been looked for.
        is_cut = len(errors) == MAX_ERRORS
        said = {
            "code": "invalid",
            "detail": "The request was not valid; see errors."
            + (f" They are the first {MAX_ERRORS}; there may be more." if is_cut else ""),
            "errors": errors,
        }
    else:
        said = {"code": error.default_code, "detail": str(error.detail)}
    headers: dict[str, str] = {}
    if header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = header
    if wait := said.get("retry_after") or getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait))
    if error.status_code == 503:
        headers["Retry-After"] = "5"
    return Response(
        problem(error.status_code, **said),
        status=error.status_code,
        headers=headers,
        content_type=CONTENT_TYPE,
    )


def _field_errors(detail: Any, pointer: str) -> Iterator[dict[str, str]]:
    """Each message of a nested validation error with the JSON pointer of its field."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            token = str(name).replace("~", "~0").replace("/", "~1")
            at = pointer if name == "non_field_errors" else f"{pointer}/{token}"
            yield from _field_errors(inner, at)
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            is_message = not isinstance(inner, Mapping | list)
            yield from _field_errors(inner, pointer if is_message else f"{pointer}/{index}")
    else:
        yield {"pointer": pointer, "detail": str(detail)}


def _shortened(error: dict[str, str]) -> dict[str, str]:
    """An error that does not repeat a long text that was sent."""
    return {
        name: text if len(text) <= MAX_ERROR_LENGTH else f"{text[:MAX_ERROR_LENGTH]}…"
        for name, text in error.items()
    }


def _parameter_errors(detail: Any) -> Iterator[dict[str, str]]:
    for name, messages in detail.items():
        for message in messages if isinstance(messages, list) else [messages]:
            yield {"parameter": name, "detail": str(message)}
