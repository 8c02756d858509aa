"""The API of batches: push or retry many orders, and follow how far they are."""

from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from api.batches.filters import BatchFilterSet, BatchItemFilterSet
from api.batches.serializers import (
    BatchItemSerializer,
    BatchPreviewSerializer,
    BatchSerializer,
    BatchSummarySerializer,
    NewBatchSerializer,
)
from api.idempotency import idempotent
from api.parsing import document
from api.schema import may_violate
from api.viewsets import RETRY_AFTER, OrgViewSet
from exports.models import Batch, BatchItem
from exports.pushing.batches import cancel as cancel_batch
from exports.pushing.batches import create_batch, preview_batch


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
    @may_violate("NO_ORDERS", "TOO_MANY_ORDERS")
    @idempotent
    def create(self, request: Request) -> Response:
        """Push or retry many orders.

        Give their ids, or a filter as for the list of orders. The items of the batch have the
        outcome of each order.
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
        """Count the orders that a batch would take, without creating it."""
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
        """Get a batch and its progress."""
        batch = self.get_object()
        headers = {} if batch.finished_at else {"Retry-After": RETRY_AFTER}
        return Response(self.get_serializer(batch).data, headers=headers)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    @may_violate("NOT_CANCELLABLE")
    def cancel(self, request: Request, pk: str) -> Response:
        """Cancel a batch.

        Orders that were handled stay so; orders that still wait are left unchanged.
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
