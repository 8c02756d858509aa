"""Problem details (RFC 9457): how programs are told of an error."""

import json
from http import HTTPStatus
from typing import Any, Final

from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import APIException, ValidationError

from kernel.request_context import request_id

CONTENT_TYPE: Final = "application/problem+json"

# For errors that come from outside the API's views: the code and a sentence.
_GENERAL: Final = {
    400: ("bad_request", _("The server does not understand the request.")),
    403: ("permission_denied", _("You do not have permission to do this.")),
    404: ("not_found", _("Nothing was found under this address.")),
    405: ("method_not_allowed", _("This method is not supported here.")),
    500: ("error", _("An internal error occurred. The log has it under this request id.")),
    503: ("unavailable", _("The service is temporarily unavailable. Try again in a few seconds.")),
}


class Problem(APIException):
    """A refusal with a status and a stable code; `extra` members say more."""

    def __init__(self, status: int, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail, code)
        self.status_code = status
        self.code = code
        self.extra = extra


class WrongParameter(ValidationError):
    """Wrong query parameters or headers: each name with its messages."""


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
    """A problem of which only the status is known."""
    code, detail = _GENERAL.get(status, _GENERAL[500 if status >= 500 else 400])
    return json.dumps(problem(status, code, str(detail))).encode()
