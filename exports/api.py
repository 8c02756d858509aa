"""The API of exports and answers: what became of each push."""

from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils.http import content_disposition_header
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from accounts.api import OrgViewSet
from exports.filters import ErpAckFilterSet, ErpExportFilterSet
from exports.models import ErpAck, ErpExport
from exports.push import cancel_export
from exports.serializers import (
    CancellationSerializer,
    ErpAckSerializer,
    ErpAckSummarySerializer,
    ErpExportEventSerializer,
    ErpExportSerializer,
)
from orderflow.problems import Problem


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
        exports = (
            ErpExport.objects.filter(org=self.token.org)
            .select_related("erp_connection", "requested_by")
            .defer("erp_connection__config_encrypted")
        )
        return exports if self.action == "payload" else exports.defer("payload")

    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(self.get_serializer(self.get_object()).data)

    @action(detail=True)
    def payload(self, request: Request, pk: str) -> HttpResponse:
        export = self.get_object()
        if export.content is None:
            raise Problem(
                404,
                "PAYLOAD_CLEARED",
                "The payload was cleared when its retention ended; the archive has it.",
            )
        return HttpResponse(
            export.content,
            content_type="application/json",
            headers={
                "Content-Disposition": content_disposition_header(True, export.filename),
                "ETag": f'"{export.payload_sha256}"',
            },
        )

    @action(detail=True)
    def events(self, request: Request, pk: str) -> Response:
        events = self.get_object().events.select_related("actor")
        return Response(ErpExportEventSerializer(events, many=True).data)

    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        export = self.get_object()
        body = CancellationSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        cancel_export(export.id, actor=self.token.user, **body.validated_data)
        return Response(self.get_serializer(self.get_object()).data)


class ErpAckViewSet(OrgViewSet):
    filterset_class = ErpAckFilterSet
    orderings = ("seen_at",)
    permissions = {"list": "exports.view_erpack", "retrieve": "exports.view_erpack"}

    def get_queryset(self) -> QuerySet[ErpAck]:
        acks = ErpAck.objects.filter(org=self.token.org).select_related("decided_by")
        return acks.defer("raw") if self.action == "list" else acks

    def get_serializer_class(self) -> type[BaseSerializer[ErpAck]]:
        return ErpAckSummarySerializer if self.action == "list" else ErpAckSerializer

    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(self.get_serializer(self.get_object()).data)
