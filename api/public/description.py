"""The OpenAPI description of the API, as a file and as a page to try it out."""

from functools import cache
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
)

from kernel.content_security import CONTENT_SECURITY_POLICY

_RENDERERS: Final = {
    renderer.media_type: renderer
    for renderer in (OpenApiYamlRenderer, OpenApiJsonRenderer, OpenApiJsonRenderer2)
}


@require_safe
def api_schema(request: HttpRequest) -> HttpResponse:
    """The description, made once: it takes long, and anybody may ask for it."""
    asked = request.get_preferred_type(list(_RENDERERS))
    media_type = asked or OpenApiYamlRenderer.media_type
    return HttpResponse(_description(media_type), content_type=media_type)


@require_safe
def api_docs(request: HttpRequest) -> HttpResponse:
    """The description, to read and to try out."""
    # Swagger UI's style sheet has its icons inside.
    response = render(request, "api/docs.html")
    response["Content-Security-Policy"] = f"{CONTENT_SECURITY_POLICY}; img-src 'self' data:"
    return response


@cache
def _description(media_type: str) -> bytes:
    schema = SchemaGenerator().get_schema(public=True)
    rendered: bytes = _RENDERERS[media_type]().render(schema)
    return rendered
