"""The API of draft orders: create, replace, approve, push."""

from uuid import UUID

from django.db.models import Prefetch, QuerySet
from django.http import HttpResponse
from django.urls import reverse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from api.exports.serializers import ErpExportSerializer
from api.exports.views import as_shown
from api.idempotency import idempotent
from api.orders.filters import DraftOrderFilterSet
from api.orders.serializers import (
    ApprovalSerializer,
    DraftOrderSerializer,
    DraftOrderSummarySerializer,
)
from api.parsing import document
from api.schema import EXPORT_DOCUMENT, may_violate
from api.viewsets import RETRY_AFTER, OrgViewSet
from connectors.port import media_type
from exports.models import ErpExport
from exports.pushing.push import push_order, retry_order
from exports.pushing.rendering import preview_order
from orders import approval
from orders.creation import create_order, replace_order
from orders.models import DraftOrder

_NOT_RENDERED = ("CHANGED_SINCE_APPROVAL", "NO_CONNECTION", "NOT_EXPORTABLE")


@extend_schema_view(list=extend_schema(summary="List orders"))
class DraftOrderViewSet(OrgViewSet):
    filterset_class = DraftOrderFilterSet
    is_versioned = True
    permissions = {
        "list": "orders.view_draftorder",
        "create": "orders.add_draftorder",
        "retrieve": "orders.view_draftorder",
        "update": "orders.change_draftorder",
        "partial_update": "orders.change_draftorder",
        "preview": "orders.view_draftorder",
        "approve": "orders.approve_draftorder",
        "reject": "orders.approve_draftorder",
        "push": "orders.push_draftorder",
        "retry_push": "orders.push_draftorder",
    }

    def get_queryset(self) -> QuerySet[DraftOrder]:
        exports = ErpExport.objects.defer("payload").order_by(*ErpExport.LIVE_FIRST)
        orders = (
            DraftOrder.objects.filter(org=self.token.org)
            .select_related("org", "customer", "source_document", "approved_by")
            .prefetch_related(Prefetch("exports", exports))
        )
        return orders if self.action == "list" else orders.prefetch_related("lines")

    def get_serializer_class(self) -> type[BaseSerializer[DraftOrder]]:
        return DraftOrderSummarySerializer if self.action == "list" else DraftOrderSerializer

    @idempotent
    def create(self, request: Request) -> Response:
        """Create an order.

        A customer is found by its ERP number, without one by its name, and made if there is none.
        The order is `READY`, or `NEEDS_REVIEW` until its `blocking_reasons` are gone.
        """
        body = self.get_serializer(data=document(request))
        body.is_valid(raise_exception=True)
        created = create_order(self.token.org, **body.validated_data)
        location = reverse("draft-order-detail", args=[created.id])
        return self._shown(created.id, status=201, Location=location)

    def retrieve(self, request: Request, pk: str) -> Response:
        """Get an order."""
        return self.with_etag(self.get_object())

    @may_violate("NOT_EDITABLE")
    def update(self, request: Request, pk: str) -> Response:
        """Replace an order.

        Fields that are left out become empty, and the lines are replaced. An approval is cancelled
        if this changes anything.
        """
        return self._replace(request)

    @may_violate("NOT_EDITABLE")
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change an order.

        Fields that are left out stay unchanged; lines are replaced as a whole. An approval is
        cancelled if this changes anything.
        """
        return self._replace(request, is_partial=True)

    @extend_schema(request=ApprovalSerializer)
    @action(detail=True, methods=["post"])
    @may_violate("NOT_READY", "CHANGED_SINCE_SHOWN", "NEEDS_CONFIRMATION")
    def approve(self, request: Request, pk: str) -> Response:
        """Approve an order.

        An order with `warnings` is approved only if they are confirmed. Send the `content_sha256`
        of the order that was looked at: if its content, its customer or its document has changed
        since, it is not approved (`CHANGED_SINCE_SHOWN`). Without, the order is approved as it is.
        """
        with self.with_if_match() as order:
            body = ApprovalSerializer(data=request.data)
            body.is_valid(raise_exception=True)
            approval.approve(
                order.id,
                actor=self.token.user,
                confirm_warnings=body.validated_data["confirm_warnings"],
                expected_sha256=body.validated_data.get("content_sha256"),
            )
        return self._shown(order.id)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    @may_violate("NOT_REJECTABLE")
    def reject(self, request: Request, pk: str) -> Response:
        """Reject an order for good."""
        with self.with_if_match() as order:
            approval.reject(order.id, actor=self.token.user)
        return self._shown(order.id)

    @extend_schema(request=None, responses={202: ErpExportSerializer})
    @action(detail=True, methods=["post"])
    @may_violate("LIVE_EXPORT", "NOT_APPROVED", "OPEN_CONFLICT", *_NOT_RENDERED)
    @idempotent
    def push(self, request: Request, pk: str) -> Response:
        """Push an approved order to the ERP.

        Returns the new export; a worker delivers it. `LIVE_EXPORT`: the order has one already, and
        `export` is its id.
        """
        with self.with_if_match() as order:
            return _accepted(push_order(order.id, actor=self.token.user))

    @extend_schema(request=None, responses={202: ErpExportSerializer})
    @action(detail=True, methods=["post"], url_path="retry-push")
    @may_violate("NOT_FAILED", "NOT_APPROVED", "OPEN_CONFLICT", *_NOT_RENDERED)
    @idempotent
    def retry_push(self, request: Request, pk: str) -> Response:
        """Retry an order whose latest export has failed.

        Creates a new export with a new file name. Temporary failures are retried automatically;
        use this for exports that are `FAILED`.
        """
        with self.with_if_match() as order:
            return _accepted(retry_order(order.id, actor=self.token.user))

    @extend_schema(responses={200: EXPORT_DOCUMENT})
    @action(detail=True)
    @may_violate("NOT_APPROVED", *_NOT_RENDERED)
    def preview(self, request: Request, pk: str) -> HttpResponse:
        """Get the exact document that a push would deliver."""
        document = preview_order(self.get_object().id)
        return HttpResponse(document.content, content_type=media_type(document.filename))

    def _replace(self, request: Request, *, is_partial: bool = False) -> Response:
        # Two clients that change different fields must not undo each other's change.
        with self.with_if_match(lock=True) as order:
            given = document(request)
            if is_partial and isinstance(given, dict):
                given = DraftOrderSerializer(order).writable_data | given
            body = self.get_serializer(data=given)
            body.is_valid(raise_exception=True)
            replace_order(order.id, actor=self.token.user, **body.validated_data)
        return self._shown(order.id)

    def _shown(self, order_id: UUID, *, status: int = 200, **headers: str) -> Response:
        return self.with_etag(self.get_queryset().get(id=order_id), status=status, **headers)


def _accepted(export: ErpExport) -> Response:
    location = reverse("erp-export-detail", args=[export.id])
    shown = as_shown(ErpExport.objects.all()).get(id=export.id)
    return Response(
        ErpExportSerializer(shown).data,
        status=202,
        headers={"Location": location, "Retry-After": RETRY_AFTER},
    )
