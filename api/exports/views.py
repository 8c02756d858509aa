"""The API of exports, answers and batches: what became of each push."""

from typing import Any

from django.db.models import Prefetch, QuerySet
from django.http import HttpResponse
from django.urls import reverse
from django.utils.http import content_disposition_header
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from api.base import RETRY_AFTER, OrgViewSet, idempotent
from api.errors import document
from api.exports.filters import (
    BatchFilterSet,
    BatchItemFilterSet,
    ErpAckFilterSet,
    ErpExportFilterSet,
)
from api.exports.serializers import (
    BatchItemSerializer,
    BatchPreviewSerializer,
    BatchSerializer,
    BatchSummarySerializer,
    CancellationSerializer,
    ErpAckSerializer,
    ErpAckSummarySerializer,
    ErpExportEventSerializer,
    ErpExportSerializer,
    NewBatchSerializer,
)
from api.schema import EXPORT_DOCUMENT, refuses
from connectors.models import ErpConnection
from connectors.port import media_type
from exports.models import Batch, BatchItem, ErpAck, ErpExport
from exports.pushing.batches import cancel as cancel_batch
from exports.pushing.batches import create_batch, preview_batch
from exports.pushing.push import cancel_export
from kernel.problems import Problem


def as_shown(exports: QuerySet[ErpExport]) -> QuerySet[ErpExport]:
    """Single exports with what is shown of them, in one query."""
    return exports.select_related("erp_connection", "requested_by", "approved_by").defer(
        "payload", "erp_connection__config_encrypted"
    )


@extend_schema_view(list=extend_schema(summary="List exports"))
class ErpExportViewSet(OrgViewSet):
    serializer_class = ErpExportSerializer
    filterset_class = ErpExportFilterSet
    has_changes = True
    permissions = {
        "list": "exports.view_erpexport",
        "retrieve": "exports.view_erpexport",
        "payload": "exports.view_erpexport",
        "events": "exports.view_erpexportevent",
        "cancel": "exports.cancel_erpexport",
    }

    def get_queryset(self) -> QuerySet[ErpExport]:
        exports = ErpExport.objects.filter(org=self.token.org)
        if self.action == "payload":
            return exports
        if self.action == "list":
            # The exports of a page share a connection or two: that is read once, not with each.
            connections = ErpConnection.objects.defer("config_encrypted")
            return exports.defer("payload").prefetch_related(
                Prefetch("erp_connection", connections), "requested_by", "approved_by"
            )
        return as_shown(exports)

    def retrieve(self, request: Request, pk: str) -> Response:
        """Get an export."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        responses={200: EXPORT_DOCUMENT},
        parameters=[
            OpenApiParameter("ETag", str, "header", response=[200], required=True),
            OpenApiParameter("Content-Disposition", str, "header", response=[200], required=True),
        ],
    )
    @action(detail=True)
    def payload(self, request: Request, pk: str) -> HttpResponse:
        """Get the document that the export delivers, to the byte.

        Answers 404 with the code `PAYLOAD_CLEARED` when its retention has ended.
        """
        export = self.get_object()
        if export.content is None:
            raise Problem(
                404,
                "PAYLOAD_CLEARED",
                "The payload was cleared when its retention ended.",
            )
        return HttpResponse(
            export.content,
            content_type=media_type(export.filename),
            headers={
                "Content-Disposition": content_disposition_header(True, export.filename),
                "ETag": f'"{export.payload_sha256}"',
            },
        )

    @extend_schema(responses={200: ErpExportEventSerializer(many=True)})
    @action(detail=True, pagination_class=None, filter_backends=[])
    def events(self, request: Request, pk: str) -> Response:
        """Get everything that happened to an export, in order."""
        events = self.get_object().events.select_related("actor")
        return Response(ErpExportEventSerializer(events, many=True).data)

    @extend_schema(request=CancellationSerializer)
    @action(detail=True, methods=["post"])
    @refuses("NOT_CANCELLABLE")
    def cancel(self, request: Request, pk: str) -> Response:
        """Cancel an export of which nothing has been sent yet.

        It is `FAILED` then, and its order is approved as before.
        """
        export = self.get_object()
        body = CancellationSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        cancel_export(export.id, actor=self.token.user, **body.validated_data)
        return Response(self.get_serializer(self.get_object()).data)


@extend_schema_view(list=extend_schema(summary="List answers of the ERP"))
class ErpAckViewSet(OrgViewSet):
    filterset_class = ErpAckFilterSet
    orderings = ("-seen_at", "seen_at")
    permissions = {"list": "exports.view_erpack", "retrieve": "exports.view_erpack"}

    def get_queryset(self) -> QuerySet[ErpAck]:
        acks = ErpAck.objects.filter(org=self.token.org).select_related("decided_by")
        return acks.defer("raw") if self.action == "list" else acks

    def get_serializer_class(self) -> type[BaseSerializer[ErpAck]]:
        return ErpAckSummarySerializer if self.action == "list" else ErpAckSerializer

    def retrieve(self, request: Request, pk: str) -> Response:
        """Get an answer with its file."""
        return Response(self.get_serializer(self.get_object()).data)


@extend_schema_view(list=extend_schema(summary="List batches"))
class BatchViewSet(OrgViewSet):
    serializer_class = BatchSerializer
    filterset_class = BatchFilterSet
    orderings = ("-created_at", "created_at")
    permissions = {
        "list": "exports.view_batch",
        "create": "orders.push_draftorder",
        "preview": "orders.push_draftorder",
        "retrieve": "exports.view_batch",
        "cancel": "orders.push_draftorder",
    }

    def get_queryset(self) -> QuerySet[Batch]:
        batches = Batch.objects.filter(org=self.token.org)
        return batches.select_related("requested_by", "cancelled_by")

    def get_serializer_class(self) -> type[BaseSerializer[Batch]]:
        return BatchSummarySerializer if self.action == "list" else BatchSerializer

    @extend_schema(request=NewBatchSerializer, responses={202: BatchSerializer})
    @refuses("NO_ORDERS", "TOO_MANY_ORDERS")
    @idempotent
    def create(self, request: Request) -> Response:
        """Push or retry many orders.

        Name them, or give a filter as for their list. Each has an outcome of its own among the
        items of the batch.
        """
        body = self._chosen(request)
        batch = create_batch(self.token.org, actor=self.token.user, **body)
        return Response(
            self.get_serializer(batch).data,
            status=202,
            headers={
                "Location": reverse("batch-detail", args=[batch.id]),
                "Retry-After": RETRY_AFTER,
            },
        )

    @extend_schema(request=NewBatchSerializer, responses={200: BatchPreviewSerializer})
    @action(detail=False, methods=["post"])
    def preview(self, request: Request) -> Response:
        """Count what a batch would do, and do nothing."""
        body = self._chosen(request)
        return Response(BatchPreviewSerializer(preview_batch(**body)).data)

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "Retry-After",
                int,
                "header",
                response=[200],
                description="While it is not finished.",
            )
        ]
    )
    def retrieve(self, request: Request, pk: str) -> Response:
        """Get a batch and how far it has come."""
        batch = self.get_object()
        headers = {} if batch.finished_at else {"Retry-After": RETRY_AFTER}
        return Response(self.get_serializer(batch).data, headers=headers)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    @refuses("NOT_CANCELLABLE")
    def cancel(self, request: Request, pk: str) -> Response:
        """Cancel a batch.

        What was done stays done; the orders that still wait are left as they are.
        """
        cancel_batch(self.get_object().id, actor=self.token.user)
        return Response(self.get_serializer(self.get_object()).data)

    def _chosen(self, request: Request) -> dict[str, Any]:
        """What is to be done with which orders. Raises ValidationError."""
        body = NewBatchSerializer(data=document(request), context={"org": self.token.org})
        body.is_valid(raise_exception=True)
        return {name: body.validated_data[name] for name in ("action", "orders")}


@extend_schema_view(list=extend_schema(summary="List the outcomes of a batch"))
class BatchItemViewSet(OrgViewSet):
    serializer_class = BatchItemSerializer
    filterset_class = BatchItemFilterSet
    orderings = ("id", "-id")
    permissions = {"list": "exports.view_batchitem"}

    def get_queryset(self) -> QuerySet[BatchItem]:
        batches = Batch.objects.filter(org=self.token.org)
        batch = get_object_or_404(batches, pk=self.kwargs["batch"])
        return batch.items.select_related("draft_order")
