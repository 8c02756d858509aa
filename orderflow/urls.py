"""URLs. Every path of the API works with and without a trailing slash."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import include, path, re_path
from django.views.decorators.http import require_safe
from drf_spectacular.views import SpectacularAPIView
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.routers import SimpleRouter
from rest_framework.views import APIView

from connectors.api import ErpConnectionViewSet
from connectors.views import schema
from exports.api import BatchItemViewSet, BatchViewSet, ErpAckViewSet, ErpExportViewSet
from orderflow.middleware import CONTENT_SECURITY_POLICY
from orders.api import DraftOrderViewSet


class UnknownPath(APIView):
    """404 as a problem, whatever the method and whoever asks."""

    authentication_classes = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise NotFound("The API has no such path.")


@require_safe
def api_docs(request: HttpRequest) -> HttpResponse:
    """The API's description, to read and to try out."""
    # Swagger UI's style sheet has its icons inside.
    response = render(request, "api/docs.html")
    response["Content-Security-Policy"] = f"{CONTENT_SECURITY_POLICY}; img-src 'self' data:"
    return response


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
    path("schemas/<name>.schema.json", schema, name="schema"),
    path("api/v1/", include(router.urls)),
    re_path(r"^api/schema/?\Z", SpectacularAPIView.as_view(), name="api-schema"),
    re_path(r"^api/docs/?\Z", api_docs, name="api-docs"),
    re_path(r"^api(/|\Z)", UnknownPath.as_view()),
]
