"""The request context middleware: ids, headers and log lines; problems for programs."""

import logging
import time
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.encoding import escape_uri_path

from kernel.content_security import CONTENT_SECURITY_POLICY
from kernel.problems import CONTENT_TYPE, general_problem
from kernel.request_context import Origin, acting_from, address_of, identify

logger = logging.getLogger(__name__)


def request_context(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """The outermost middleware."""

    def middleware(request: HttpRequest) -> HttpResponse:
        began = time.perf_counter()
        request_id = identify(request.headers.get("X-Request-ID", ""))
        with acting_from(Origin(address=address_of(request), request_id=request_id)):
            response = get_response(request)
        if is_for_api(request):
            _make_fit_for_programs(response)
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        response["X-Request-ID"] = request_id
        _log(request, response.status_code, milliseconds=1000 * (time.perf_counter() - began))
        return response

    return middleware


def is_for_api(request: HttpRequest) -> bool:
    """Whether a program asks, which is answered with a problem instead of a page."""
    return request.path == "/api" or request.path.startswith("/api/")


def _make_fit_for_programs(response: HttpResponse) -> None:
    """Errors of the API are never pages, and no cache keeps its answers."""
    is_page = response.get("Content-Type", "").startswith("text/html")
    if response.status_code >= 400 and is_page:
        # In place: Django remembers on it that the failure was logged.
        response.content = general_problem(response.status_code)
        response["Content-Type"] = CONTENT_TYPE
    response.headers.setdefault("Cache-Control", "no-store")


def _log(request: HttpRequest, status: int, *, milliseconds: float) -> None:
    """One line for the request, without its query: people search for what is nobody's business."""
    # Escaped: a path may hold anything, line breaks too.
    path = escape_uri_path(request.path)
    fields: dict[str, Any] = {
        "method": request.method,
        "path": path,
        "status": status,
        "ms": round(milliseconds, 1),
    }
    # Who it was, if anybody asked: `request.user` would look into a database that may be away.
    if token := getattr(request, "auth", None):
        fields |= {"token_id": token.id, "user_id": token.user_id, "org_id": token.org_id}
    elif (user := getattr(request, "_cached_user", None)) and user.is_authenticated:
        fields["user_id"] = user.pk
    logger.info("%s %s %s", request.method, path, status, extra=fields)
