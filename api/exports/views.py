"""The API of exports: follow what became of each push, read its document, cancel it."""

from django.db.models import Prefetch, QuerySet
from django.http import HttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from api.exports.filters import ErpExportFilterSet
from api.exports.serializers import (
    CancellationSerializer,
    ErpExportEventSerializer,
    ErpExportSerializer,
)
from api.schema import EXPORT_DOCUMENT, may_violate
from api.viewsets import OrgViewSet
from connectors.models import ErpConnection
from connectors.port import media_type
from exports.models import ErpExport
from exports.pushing.push import cancel_export
from kernel.problems import Problem


def as_shown(exports: QuerySet[ErpExport]) -> QuerySet[ErpExport]:
    """Single exports with what is shown of them, in one query."""
    return exports.select_related("erp_connection__paused_by", "requested_by", "approved_by").defer(
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
            connections = ErpConnection.objects.select_related("paused_by").defer(
                "config_encrypted"
            )
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
        """Get the exact document that the export delivers.

        Returns 404 with the code `PAYLOAD_CLEARED` once its retention has ended.
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
        """List the events of an export, the oldest first."""
        events = self.get_object().events.select_related("actor")
        return Response(ErpExportEventSerializer(events, many=True).data)

    @extend_schema(request=CancellationSerializer)
    @action(detail=True, methods=["post"])
    @may_violate("NOT_CANCELLABLE")
    def cancel(self, request: Request, pk: str) -> Response:
        """Cancel an export of which nothing has been sent yet.

        It is `FAILED` then, and its order is approved as before.
        """
        export = self.get_object()
        body = CancellationSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        cancel_export(export.id, actor=self.token.user, **body.validated_data)
        return Response(self.get_serializer(self.get_object()).data)
