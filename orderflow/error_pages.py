"""The page for addresses that make no sense.

It is drawn without the request: its user may be one more thing to ask the database for.
"""

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400. Only a BadRequest has a text for people."""
    detail = str(exception) if isinstance(exception, BadRequest) else ""
    return HttpResponse(render_to_string("400.html", {"detail": detail}), status=400)
