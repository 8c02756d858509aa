"""Error pages: for addresses that make no sense, and for statements that took too long.

They are drawn without the request: its user may be one more thing to ask the database for.
"""

import logging
from collections.abc import Callable

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.encoding import escape_uri_path

from kernel.db import is_timeout

logger = logging.getLogger(__name__)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400. Only a BadRequest has a text for people."""
    detail = str(exception) if isinstance(exception, BadRequest) else ""
    return HttpResponse(render_to_string("400.html", {"detail": detail}), status=400)


class StatementTimeouts:
    """The middleware that answers 503 when the database has stopped a statement for its length."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not is_timeout(error):
            return None
        path = escape_uri_path(request.path)
        logger.warning("the database stopped a statement of %s that took too long", path)
        return HttpResponse(render_to_string("503.html"), status=503, headers={"Retry-After": "30"})
