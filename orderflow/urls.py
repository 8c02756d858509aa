"""URLs. Every path of the API works with and without a trailing slash."""

from functools import cache
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import include, path, re_path
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
)
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView

from api.acks.views import ErpAckViewSet
from api.batches.views import BatchItemViewSet, BatchViewSet
from api.connections.views import ErpConnectionViewSet
from api.exports.views import ErpExportViewSet
from api.json_schemas import schema
from api.metrics import metrics
from api.orders.views import DraftOrderViewSet
from orderflow.middleware import CONTENT_SECURITY_POLICY

_DESCRIPTION_RENDERERS = {
    renderer.media_type: renderer
    for renderer in (OpenApiYamlRenderer, OpenApiJsonRenderer, OpenApiJsonRenderer2)
}


class UnknownPath(APIView):
    """404 as a problem, whatever the method and whoever asks."""

    authentication_classes = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise NotFound("The API has no such path.")


@cache
def _description(media_type: str) -> bytes:
    schema = SchemaGenerator().get_schema(public=True)
    rendered: bytes = _DESCRIPTION_RENDERERS[media_type]().render(schema)
    return rendered


@require_safe
def api_schema(request: HttpRequest) -> HttpResponse:
    """The API's description. It is made once, because it takes long and anybody may ask for it."""
    asked = request.get_preferred_type(list(_DESCRIPTION_RENDERERS))
    media_type = asked or OpenApiYamlRenderer.media_type
    return HttpResponse(_description(media_type), content_type=media_type)


@require_safe
def api_docs(request: HttpRequest) -> HttpResponse:
    """The API's description, to read and to try out."""
    # Swagger UI's style sheet has its icons inside.
    response = render(request, "api/docs.html")
    response["Content-Security-Policy"] = f"{CONTENT_SECURITY_POLICY}; img-src 'self' data:"
    return response


handler400 = "orderflow.error_pages.bad_request"

# There is no other site to view.
admin.site.site_url = None

router = SimpleRouter()
router.trailing_slash = "/?"
router.register("draft-orders", DraftOrderViewSet, "draft-order")
router.register("erp-exports", ErpExportViewSet, "erp-export")
router.register("erp-connections", ErpConnectionViewSet, "erp-connection")
router.register("erp-acks", ErpAckViewSet, "erp-ack")
router.register("batches", BatchViewSet, "batch")
router.register(r"batches/(?P<batch>[^/.]+)/items", BatchItemViewSet, "batch-item")

urlpatterns = [
    path("admin/", admin.site.urls),
    path("metrics", metrics, name="metrics"),
    path("schemas/<name>.schema.json", schema, name="schema"),
    path("api/v1/", include(router.urls)),
    re_path(r"^api/schema/?\Z", api_schema, name="api-schema"),
    re_path(r"^api/docs/?\Z", api_docs, name="api-docs"),
    re_path(r"^api(/|\Z)", UnknownPath.as_view()),
]
