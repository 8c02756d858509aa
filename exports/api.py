"""The API of exports: what became of each push."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils.http import content_disposition_header
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.api import OrgView
from exports.models import ErpExport
from exports.push import cancel_export
from exports.serializers import (
    CancellationSerializer,
    ErpExportEventSerializer,
    ErpExportFilterSerializer,
    ErpExportSerializer,
)
from orderflow.api import Problem


class ErpExportViewSet(OrgView, ListModelMixin, RetrieveModelMixin, GenericViewSet[ErpExport]):
    serializer_class = ErpExportSerializer
    permissions = {
        "list": "exports.view_erpexport",
        "retrieve": "exports.view_erpexport",
        "payload": "exports.view_erpexport",
        "events": "exports.view_erpexportevent",
        "cancel": "exports.cancel_erpexport",
    }

    def get_queryset(self) -> QuerySet[ErpExport]:
        return (
            ErpExport.objects.filter(org=self.token.org)
            .select_related("erp_connection", "requested_by")
            .defer("payload", "erp_connection__config_encrypted")
        )

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        filters = ErpExportFilterSerializer(data=request.query_params.dict())
        filters.is_valid(raise_exception=True)
        page = self.paginate_queryset(self.get_queryset().filter(**filters.validated_data))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

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
