"""The API of draft orders: create, approve, push."""

from django.db.models import Prefetch, QuerySet
from django.http import HttpResponse
from django.urls import reverse
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from accounts.api import OrgView
from exports.models import ErpExport
from exports.push import push_order, retry_order
from exports.rendering import preview_order
from exports.serializers import ErpExportSerializer
from orders import workflow
from orders.creation import create_order
from orders.models import DraftOrder
from orders.serializers import (
    ApprovalSerializer,
    DraftOrderSerializer,
    DraftOrderSummarySerializer,
)


class DraftOrderViewSet(OrgView, ListModelMixin, RetrieveModelMixin, GenericViewSet[DraftOrder]):
    permissions = {
        "list": "orders.view_draftorder",
        "create": "orders.add_draftorder",
        "retrieve": "orders.view_draftorder",
        "preview": "orders.view_draftorder",
        "approve": "orders.approve_draftorder",
        "push": "orders.push_draftorder",
        "retry_push": "orders.push_draftorder",
    }

    def get_queryset(self) -> QuerySet[DraftOrder]:
        orders = (
            DraftOrder.objects.filter(org=self.token.org)
            .select_related("customer", "source_document", "approved_by")
            .prefetch_related(Prefetch("exports", ErpExport.objects.defer("payload")))
        )
        return orders if self.action == "list" else orders.prefetch_related("lines")

    def get_serializer_class(self) -> type[BaseSerializer[DraftOrder]]:
        return DraftOrderSummarySerializer if self.action == "list" else DraftOrderSerializer

    def create(self, request: Request) -> Response:
        body = self.get_serializer(data=request.data)
        body.is_valid(raise_exception=True)
        created = create_order(self.token.org, **body.validated_data)
        order = self.get_queryset().get(id=created.id)
        location = reverse("draft-order-detail", args=[order.id])
        return Response(self.get_serializer(order).data, status=201, headers={"Location": location})

    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: str) -> Response:
        order = self.get_object()
        body = ApprovalSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        workflow.approve(order.id, actor=self.token.user, **body.validated_data)
        return Response(self.get_serializer(self.get_object()).data)

    @action(detail=True, methods=["post"])
    def push(self, request: Request, pk: str) -> Response:
        return _accepted(push_order(self.get_object().id, actor=self.token.user))

    @action(detail=True, methods=["post"], url_path="retry-push")
    def retry_push(self, request: Request, pk: str) -> Response:
        return _accepted(retry_order(self.get_object().id, actor=self.token.user))

    @action(detail=True)
    def preview(self, request: Request, pk: str) -> HttpResponse:
        document = preview_order(self.get_object().id)
        return HttpResponse(document.content, content_type="application/json")


def _accepted(export: ErpExport) -> Response:
    export.refresh_from_db()
    location = reverse("erp-export-detail", args=[export.id])
    return Response(ErpExportSerializer(export).data, status=202, headers={"Location": location})
