"""Notifications of connections: paused, and delivering again."""

from typing import Any

from django.dispatch import receiver

from connectors import signals
from connectors.errors import CATALOGUE, ConnectorError
from connectors.models import ErpConnection
from notifications.models import EventType
from notifications.outbox import publish_event


@receiver(signals.paused)
def _paused(connection: ErpConnection, **kwargs: Any) -> None:
    by_error = connection.system_pause_code in CATALOGUE
    _publish(EventType.CONNECTION_PAUSED, connection, by_mail=by_error)


@receiver(signals.recovered)
def _recovered(connection: ErpConnection, **kwargs: Any) -> None:
    # Also if it was paused anew meanwhile, until its test: those who heard of a pause want to know.
    _publish(EventType.CONNECTION_RECOVERED, connection, by_mail=connection.paused_by is None)


def _publish(event_type: EventType, connection: ErpConnection, *, by_mail: bool) -> None:
    publish_event(
        event_type,
        connection.org_id,
        lambda: [
            {
                "connection_id": connection.id,
                "connector_type": connection.connector_type,
                "paused_at": connection.paused_at,
                "pause_reason": connection.pause_reason,
                "pause_code": connection.pause_code,
                "paused_by": connection.paused_by and connection.paused_by.contact,
                "error": _error(connection),
            }
        ],
        by_mail=by_mail,
    )


def _error(connection: ErpConnection) -> dict[str, Any] | None:
    """Why the system has paused it, in the words of then, if they were kept."""
    code = connection.system_pause_code
    if code not in CATALOGUE:
        return None
    said = connection.last_error or {}
    return said if said.get("code") == code else ConnectorError(code).as_json()
