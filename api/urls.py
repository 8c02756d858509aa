"""The URLs of the API. Every path under /api works with and without a trailing slash."""

from django.urls import include, path, re_path
from rest_framework.routers import SimpleRouter

from api.acks.views import ErpAckViewSet
from api.batches.views import BatchItemViewSet, BatchViewSet
from api.connections.views import ErpConnectionViewSet
from api.exports.views import ErpExportViewSet
from api.metrics import metrics
from api.orders.views import DraftOrderViewSet
from api.public.description import api_docs, api_schema
from api.public.json_schemas import schema
from api.public.unknown_paths import UnknownPath

router = SimpleRouter()
router.trailing_slash = "/?"
router.register("draft-orders", DraftOrderViewSet, "draft-order")
router.register("erp-exports", ErpExportViewSet, "erp-export")
router.register("erp-connections", ErpConnectionViewSet, "erp-connection")
router.register("erp-acks", ErpAckViewSet, "erp-ack")
router.register("batches", BatchViewSet, "batch")
router.register(r"batches/(?P<batch>[^/.]+)/items", BatchItemViewSet, "batch-item")

urlpatterns = [
    path("metrics", metrics, name="metrics"),
    path("schemas/<name>.schema.json", schema, name="schema"),
    path("api/v1/", include(router.urls)),
    re_path(r"^api/schema/?\Z", api_schema, name="api-schema"),
    re_path(r"^api/docs/?\Z", api_docs, name="api-docs"),
    re_path(r"^api(/|\Z)", UnknownPath.as_view()),
]
