"""Notifications about exports: their changes are handed to the outbox."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db.models import F

from connectors.models import ErpConnection
from exports.models import ErpAck, ErpExport
from notifications.models import EventType
from notifications.outbox import publish_event

Status = ErpExport.Status


def publish_export_events(
    event_type: EventType, exports: Iterable[ErpExport], *, by_person: bool
) -> None:
    """Tell of exports to which the same has happened."""
    by_org = defaultdict(list)
    for export in exports:
        by_org[export.org_id].append(export.id)
    for org_id, ids in by_org.items():
        publish_event(event_type, org_id, partial(_described, ids), by_mail=not by_person)


def publish_overdue_events(before: ErpConnection, polled_at: datetime) -> None:
    """Tell of the exports that a poll makes overdue; `before` is the connection as it was."""
    overdue = ErpExport.objects.filter(
        erp_connection=before, status=Status.SENT, ack_due_at__lt=polled_at
    )
    if before.last_poll_at:
        overdue = overdue.filter(ack_due_at__gte=before.last_poll_at)
    ids = list(overdue.values_list("id", flat=True))
    if ids:
        publish_event(EventType.EXPORT_OVERDUE, before.org_id, lambda: _described(ids))


def publish_conflict_events(
    org_id: UUID, acks: Sequence[ErpAck], *, by_person: bool = False
) -> None:
    """Tell of answers that contradict earlier ones."""
    if not acks:
        return
    by_export = {ack.export_id: ack for ack in acks if ack.export_id}
    publish_event(
        EventType.ACK_CONFLICT,
        org_id,
        lambda: (
            {**export, **_contradiction(by_export[export["export_id"]])}
            for export in _described(by_export)
        ),
        by_mail=not by_person,
    )


def _contradiction(ack: ErpAck) -> dict[str, Any]:
    return {
        "ack_id": ack.id,
        "reason": ack.reason,
        "answer": {
            "is_accepted": ack.is_accepted,
            "erp_order_id": ack.erp_order_id,
            "error_code": ack.error_code,
            "message": ack.message,
        },
    }


def _described(ids: Collection[UUID]) -> Iterable[Mapping[str, Any]]:
    exports = ErpExport.objects.filter(id__in=ids).order_by("created_at", "id")
    return exports.values(
        "filename",
        "status",
        "erp_order_id",
        "sent_at",
        "acked_at",
        "ack_due_at",
        export_id=F("id"),
        order_id=F("draft_order_id"),
        order_number=F("draft_order__external_order_number"),
        connection_id=F("erp_connection_id"),
        error=F("error_json"),
    )
