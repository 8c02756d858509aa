"""The API of acks: list and read them."""

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from api.acks.filters import ErpAckFilterSet
from api.acks.serializers import ErpAckSerializer, ErpAckSummarySerializer
from api.viewsets import OrgViewSet
from exports.models import ErpAck


@extend_schema_view(list=extend_schema(summary="List acks"))
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
        """Get an ack with its file."""
        return Response(self.get_serializer(self.get_object()).data)
