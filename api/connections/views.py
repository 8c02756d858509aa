"""The API of connections: set up, change, test, pause and resume."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.admin.models import ADDITION
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ValidationError

from accounts import history
from api.connections.filters import ErpConnectionFilterSet
from api.connections.serializers import (
    ConnectionTestSerializer,
    ErpConnectionSerializer,
    PauseSerializer,
)
from api.idempotency import idempotent
from api.parsing import document
from api.schema import may_violate
from api.viewsets import RETRY_AFTER, OrgViewSet
from connectors import circuit_breaker
from connectors.configuring import change_settings, create_connection, merged_config
from connectors.models import ErpConnection
from connectors.port import ConfigError
from exports.connection_tests import request_test
from exports.connections import change_config
from kernel.errors import RuleViolation

# A secret that was replaced shows in who set it when.
_SETTABLE = ("connector_type", "config", "secrets_set", "active", "ack_deadline_seconds")


@extend_schema_view(list=extend_schema(summary="List connections"))
class ErpConnectionViewSet(OrgViewSet):
    serializer_class = ErpConnectionSerializer
    filterset_class = ErpConnectionFilterSet
    is_versioned = True
    permissions = {
        "list": "connectors.view_erpconnection",
        "create": "connectors.add_erpconnection",
        "retrieve": "connectors.view_erpconnection",
        "partial_update": "connectors.change_erpconnection",
        "test": "connectors.test_erpconnection",
        "test_result": "connectors.view_erpconnection",
        "pause": "connectors.pause_erpconnection",
        "resume": "connectors.pause_erpconnection",
    }

    def get_queryset(self) -> QuerySet[ErpConnection]:
        return ErpConnection.objects.filter(org=self.token.org).select_related("paused_by")

    def versioned(self, data: Any) -> Any:
        # How a connection is doing changes all the time; what can be set does not.
        return {name: data[name] for name in _SETTABLE}

    @may_violate("CONNECTION_EXISTS")
    @idempotent
    def create(self, request: Request) -> Response:
        """Set up a connection.

        It is paused until its test has passed.
        """
        body = self.get_serializer(data=document(request))
        body.is_valid(raise_exception=True)
        org = self.token.org
        try:
            with transaction.atomic(), _config_errors():
                connection = create_connection(org, actor=self.token.user, **body.validated_data)
        except IntegrityError as e:
            existing = self.get_queryset().get(connector_type=body.validated_data["connector_type"])
            raise RuleViolation(
                "CONNECTION_EXISTS",
                f"{org} has a connection of this type already. Change that one.",
                connection=existing.id,
            ) from e
        history.note(connection, "Set up.", actor=self.token.user, flag=ADDITION)
        location = reverse("erp-connection-detail", args=[connection.id])
        return self.with_etag(connection, status=201, Location=location)

    def retrieve(self, request: Request, pk: str) -> Response:
        """Get a connection."""
        return self.with_etag(self.get_object())

    def partial_update(self, request: Request, pk: str) -> Response:
        """Change a connection.

        Fields left out of `config` stay unchanged; null removes a field. If the dropzone changes,
        the connection must pass a test again.
        """
        with self.with_if_match(lock=True) as connection:
            body = self.get_serializer(connection, data=document(request), partial=True)
            body.is_valid(raise_exception=True)
            changes = dict(body.validated_data)
            changes.pop("connector_type", None)  # Validated: it is the one it has.
            if (given := changes.pop("config", None)) is not None:
                config, cleared = merged_config(connection, given)
                with _config_errors():
                    change_config(connection, config, actor=self.token.user, clear=cleared)
            change_settings(connection.id, actor=self.token.user, **changes)
            if changes:
                named = " and ".join(name.replace("_", " ") for name in changes)
                history.note(connection, f"Changed {named}.", actor=self.token.user)
        return self.with_etag(self.get_object())

    @extend_schema(request=None, responses={202: ConnectionTestSerializer})
    @action(detail=True, methods=["post"])
    @may_violate("OTHER_INSTANCE")
    def test(self, request: Request, pk: str) -> Response:
        """Test a connection.

        A worker does what a delivery will do, step by step. Ask under `Location` until the test
        has `finished_at`, or `is_lost`. If it passes, it ends the pause of a new connection. Too
        many tests in a short time are refused: 429 `TOO_MANY_TESTS`.
        """
        with self.with_if_match() as connection:
            test = request_test(connection, actor=self.token.user)
            history.note(connection, "Asked for a connection test.", actor=self.token.user)
        location = reverse("erp-connection-test-result", args=[test.connection_id, test.id])
        return Response(
            ConnectionTestSerializer(test).data,
            status=202,
            headers={"Location": location, "Retry-After": RETRY_AFTER},
        )

    @extend_schema(responses={200: ConnectionTestSerializer})
    @action(detail=True, url_path=r"tests/(?P<test>[^/.]+)")
    def test_result(self, request: Request, pk: str, test: str) -> Response:
        """Get the progress of a test."""
        asked = self.get_object().tests.select_related("requested_by")
        return Response(ConnectionTestSerializer(get_object_or_404(asked, pk=test)).data)

    @extend_schema(request=PauseSerializer)
    @action(detail=True, methods=["post"])
    @may_violate("PAUSED")
    def pause(self, request: Request, pk: str) -> Response:
        """Pause a connection.

        Nothing is sent until it is resumed; exports wait. Acks are still read.
        """
        with self.with_if_match() as connection:
            body = PauseSerializer(data=request.data)
            body.is_valid(raise_exception=True)
            if not circuit_breaker.pause(
                connection.id, actor=self.token.user, **body.validated_data
            ):
                raise RuleViolation("PAUSED", _("A person has paused the connection already."))
            reason = body.validated_data["reason"]
            history.note(connection, f"Paused: {reason}", actor=self.token.user)
        return self.with_etag(self.get_object())

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    @may_violate("NOT_PAUSED", "NEVER_TESTED")
    def resume(self, request: Request, pk: str) -> Response:
        """Resume a connection."""
        with self.with_if_match() as connection:
            if not circuit_breaker.resume(connection.id, actor=self.token.user):
                if connection.is_paused:
                    raise RuleViolation(
                        "NEVER_TESTED",
                        "The connection was not tested since it was set up or changed. "
                        "It resumes by itself when its test passes.",
                    )
                raise RuleViolation("NOT_PAUSED", "The connection was not paused.")
            history.note(connection, "Resumed.", actor=self.token.user)
        return self.with_etag(self.get_object())


@contextmanager
def _config_errors() -> Iterator[None]:
    """Say of each wrong field of a configuration where it stands in the request."""
    try:
        yield
    except ConfigError as e:
        raise ValidationError({"config": e.errors}) from e
