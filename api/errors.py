"""What every API endpoint shares: exact numbers in, problem details and entity tags out."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any, NoReturn

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404
from django.utils.http import parse_etags
from rest_framework import exceptions
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from api.json_limits import check_amount
from kernel.db import is_timeout
from kernel.errors import Refused
from kernel.limits import MAX_ERROR_LENGTH, MAX_ERRORS, MAX_JSON_KEY_LENGTH
from kernel.problems import CONTENT_TYPE, Problem, WrongParameter, problem

logger = logging.getLogger(__name__)


class ExactJSONParser(BaseParser):
    """JSON taken at its word: numbers keep every digit, and no key may come twice."""

    media_type = "application/json"

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        request: Request = (parser_context or {})["request"]
        if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise Problem(
                415, "unsupported_media_type", "The body is compressed. Send it as plain JSON."
            )
        body: bytes = stream.read()
        check_amount(body)
        try:
            said = json.loads(
                body.decode("utf-8-sig"),
                parse_float=Decimal,
                parse_constant=_refuse,
                object_pairs_hook=_unique_keys,
            )
            if rb"\u" in body:
                # Half of a surrogate pair could be neither stored nor repeated in an answer.
                json.dumps(said, ensure_ascii=False, default=str).encode()
        except (ValueError, ArithmeticError, RecursionError) as e:
            raise exceptions.ParseError(f"The body is not valid JSON: {e}") from e
        return said


def document(request: Request) -> Any:
    """The JSON document that a request carries.

    Raises ParseError if the body is empty: more likely it was lost than meant.
    """
    if request.stream is None:
        raise exceptions.ParseError("The request has no body. Send a JSON document.")
    return request.data


def entity_tag(data: Any) -> str:
    """The ETag of what an answer shows."""
    digest = hashlib.sha256(JSONRenderer().render(data)).hexdigest()
    return f'"{digest[:32]}"'


def require_match(request: Request, data: Any) -> None:
    """Raise Problem (412) if the client says by If-Match that it has read something else."""
    expected = request.headers.get("If-Match")
    if expected is not None and not {"*", entity_tag(data)} & set(parse_etags(expected)):
        raise Problem(
            412,
            "precondition_failed",
            "It has changed since you read it. Read it again, then repeat what still applies.",
        )


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
    elif isinstance(error, Refused):
        status = refusal_status(error.code)
        error = Problem(status, error.code, error.message, **error.extra)
    elif is_timeout(error):
        logger.warning("the database stopped a statement that took too long")
        error = Problem(
            503,
            "timeout",
            "The database took too long over this and stopped. Ask for less: narrow the list with "
            "filters, or choose a smaller page_size.",
        )
    elif isinstance(error, OperationalError | InterfaceError):
        logger.error("the database does not answer as it should", exc_info=error)
        error = Problem(503, "unavailable", "The database does not answer. Try again soon.")
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


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("an object has the same key twice")
    if any(len(key) > MAX_JSON_KEY_LENGTH for key in unique):
        raise ValueError(f"a key has more than {MAX_JSON_KEY_LENGTH} characters")
    return unique
