"""Problem details (RFC 9457): how programs are told of an error."""

import json
from http import HTTPStatus
from typing import Any, Final

from rest_framework.exceptions import APIException, ValidationError

from kernel.request_context import request_id

CONTENT_TYPE: Final = "application/problem+json"

# For errors that come from outside the API's views: the code and a sentence.
_GENERAL: Final = {
    400: ("bad_request", "The server does not understand the request."),
    403: ("permission_denied", "This is not permitted."),
    404: ("not_found", "There is nothing here."),
    405: ("method_not_allowed", "This method is not offered here."),
    500: ("error", "Something went wrong on our side. It was noted under this request's id."),
    503: ("unavailable", "The service is busy or down for a moment. Try again soon."),
}


class Problem(APIException):
    """A refusal with a status and a stable code; `extra` members say more."""

    def __init__(self, status: int, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail, code)
        self.status_code = status
        self.code = code
        self.extra = extra


class WrongParameter(ValidationError):
    """Query parameters or headers that make no sense: each name with its messages."""


def problem(status: int, code: str, detail: str, **extra: Any) -> dict[str, Any]:
    """The members of a problem; `extra` ones say more."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": request_id(),
        **extra,
    }


def general_problem(status: int) -> bytes:
    """A problem of which nothing but its status is to be told."""
    code, detail = _GENERAL.get(status, _GENERAL[500 if status >= 500 else 400])
    return json.dumps(problem(status, code, detail)).encode()
