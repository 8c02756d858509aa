"""What every API endpoint shares: exact numbers in, pages and problem details out."""

import json
from collections.abc import Mapping
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final, NoReturn

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import BaseParser
from rest_framework.response import Response

from orders.errors import Refused

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
# The status of a refusal by the rules is 409, unless the request can never succeed as it is.
_REFUSED_STATUS: Final = {"NO_CONNECTION": 422, "NOT_EXPORTABLE": 422}


class Problem(exceptions.APIException):
    """A refusal with a status and a stable code; `extra` members say more."""

    def __init__(self, status: int, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail, code)
        self.status_code = status
        self.code = code
        self.extra = extra


class ExactJSONParser(BaseParser):
    """JSON taken at its word: numbers keep every digit, and no key may come twice."""

    media_type = "application/json"

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body: bytes = stream.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            raise Problem(413, "too_large", f"The body is larger than {MAX_BODY_BYTES:,} bytes.")
        try:
            return json.loads(
                body.decode("utf-8-sig"),
                parse_float=Decimal,
                parse_constant=_refuse,
                object_pairs_hook=_unique_keys,
            )
        except (ValueError, ArithmeticError, RecursionError) as e:
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
    elif isinstance(error, Refused):
        status = _REFUSED_STATUS.get(error.code, 409)
        error = Problem(status, error.code, error.message, **error.extra)
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
            token = str(name).replace("~", "~0").replace("/", "~1")
            at = pointer if name == "non_field_errors" else f"{pointer}/{token}"
            yield from _field_errors(inner, at)
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            is_message = not isinstance(inner, Mapping | list)
            yield from _field_errors(inner, pointer if is_message else f"{pointer}/{index}")
    else:
        yield {"pointer": pointer, "detail": str(detail)}


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("an object has the same key twice")
    return unique
