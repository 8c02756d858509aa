"""What surrounds every request: an id, headers, and no page where a program asked."""

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

from orderflow.problems import problem_response
from orderflow.request_ids import identified

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
        with identified(request.headers.get("X-Request-ID", "")) as request_id:
            response = get_response(request)
            if request.path == "/api" or request.path.startswith("/api/"):
                response = _for_a_program(response)
            response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
            response["X-Request-ID"] = request_id
            return response

    return middleware


def _for_a_program(response: HttpResponse) -> HttpResponse:
    """Errors of the API are never pages, and no cache keeps its answers."""
    is_page = response.get("Content-Type", "").startswith("text/html")
    if response.status_code >= 400 and is_page:
        response = problem_response(response.status_code)
    response.headers.setdefault("Cache-Control", "no-store")
    return response
