"""What every API endpoint shares: exact numbers in, pages and problem details out."""

import json
import logging
from collections.abc import Mapping
from decimal import Decimal
from http import HTTPStatus
from typing import Any, NoReturn

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import BaseParser
from rest_framework.response import Response

logger = logging.getLogger(__name__)


class Problem(exceptions.APIException):
    """A refusal with a status and a stable code; `extra` members say more."""

    def __init__(self, status: int, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail, code)
        self.status_code = status
        self.code = code
        self.extra = extra


class ExactJSONParser(BaseParser):
    """JSON whose numbers keep every digit: a float would change quantities."""

    media_type = "application/json"

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            return json.loads(
                stream.read().decode("utf-8-sig"), parse_float=Decimal, parse_constant=_refuse
            )
        except (ValueError, RecursionError) as e:
            raise exceptions.ParseError(f"The body is not valid JSON: {e}") from e


class CreatedCursorPagination(CursorPagination):
    """Pages that stay right while rows are added, newest first."""

    ordering = ("-created_at", "-id")
    page_size_query_param = "page_size"
    max_page_size = 200


def problem_details(error: Exception, context: dict[str, Any]) -> Response | None:
    """An error as application/problem+json (RFC 9457). Source: DRF's EXCEPTION_HANDLER."""
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if not isinstance(error, exceptions.APIException):
        return None
    status = error.status_code
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
    }
    if isinstance(error, Problem):
        body |= {"code": error.code, "detail": str(error.detail), **error.extra}
    elif isinstance(error, exceptions.ValidationError):
        body |= {
            "code": "invalid",
            "detail": "The request was not valid; see errors.",
            "errors": list(_field_errors(error.detail, "")),
        }
    else:
        body |= {"code": error.default_code, "detail": str(error.detail)}
    headers: dict[str, str] = {}
    if header := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = header
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait))
    return Response(body, status=status, headers=headers, content_type="application/problem+json")


def _field_errors(detail: Any, pointer: str) -> Any:
    """Each message of a nested validation error with the JSON pointer of its field."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            at = pointer if name == "non_field_errors" else f"{pointer}/{name}"
            yield from _field_errors(inner, at)
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            is_message = not isinstance(inner, Mapping | list)
            yield from _field_errors(inner, pointer if is_message else f"{pointer}/{index}")
    else:
        yield {"pointer": pointer, "detail": str(detail)}


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")
