"""What surrounds every request: an id, headers, and no page where a program asked."""

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

from orderflow.problems import CONTENT_TYPE, general_problem
from orderflow.request_ids import identify

# No inline script or style, nothing from elsewhere, and no page of ours in a frame.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


def surround(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """The outermost middleware."""

    def middleware(request: HttpRequest) -> HttpResponse:
        request_id = identify(request.headers.get("X-Request-ID", ""))
        response = get_response(request)
        if request.path == "/api" or request.path.startswith("/api/"):
            _make_fit_for_programs(response)
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        response["X-Request-ID"] = request_id
        return response

    return middleware


def _make_fit_for_programs(response: HttpResponse) -> None:
    """Errors of the API are never pages, and no cache keeps its answers."""
    is_page = response.get("Content-Type", "").startswith("text/html")
    if response.status_code >= 400 and is_page:
        # In place: Django remembers on it that the failure was logged.
        response.content = general_problem(response.status_code)
        response["Content-Type"] = CONTENT_TYPE
    response.headers.setdefault("Cache-Control", "no-store")
