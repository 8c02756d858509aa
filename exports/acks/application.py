"""Ack application: an ack that counts changes its export and the order."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from accounts import audit
from accounts.audit import Action, Change
from accounts.models import User
from connectors.errors import ConnectorError
from exports import lifecycle
from exports.acks.classification import event_of
from exports.lifecycle import Columns, Event
from exports.models import ErpAck, ErpExport
from kernel.db import db_now
from orders.lifecycle import lock_orders
from orders.models import DraftOrder

OrderStatus = DraftOrder.Status


def apply(acks: Sequence[ErpAck], *, actor: User | None = None) -> None:
    """Let acks about different exports count.

    To be called within the transaction that records the acks, which has locked the exports and
    loaded them as they are. None of the exports that are accepted may have a live one beside it.
    """
    by_event: dict[Event, dict[UUID, ErpAck]] = defaultdict(dict)
    for ack in acks:
        event = event_of(ack, ack.export) if ack.export else None
        assert event and ack.export, "an ack that changes nothing cannot count"
        by_event[event][ack.export.id] = ack
    for event, by_export in by_event.items():
        is_refusal = event in (Event.REFUSED, Event.REVOKED)
        (_refuse if is_refusal else _accept)(event, by_export, actor)


def other_live_exports(exports: Iterable[ErpExport]) -> dict[UUID, ErpExport]:
    """Of each export the live one of its order, where that is another.

    Mostly it is a newer one. It is an older one if the ERP accepted that late.
    """
    orders = {export.id: export.draft_order_id for export in exports}
    rows = ErpExport.objects.filter(draft_order__in=orders.values(), status__in=ErpExport.LIVE)
    live = {export.draft_order_id: export for export in rows.defer("payload")}
    return {
        key: live[order_id]
        for key, order_id in orders.items()
        if order_id in live and live[order_id].id != key
    }


def _accept(event: Event, acks: Mapping[UUID, ErpAck], actor: User | None) -> None:
    """The order is in the ERP, whatever a person has done with it here since it was sent."""
    before = lock_orders([ack.export.draft_order_id for ack in acks.values() if ack.export])
    accepted = lifecycle.apply(
        event,
        list(acks),
        actor=actor,
        details={key: _detail(ack) | _late(ack, before) for key, ack in acks.items()},
        each={key: {"erp_order_id": ack.erp_order_id} for key, ack in acks.items()},
        acked_at=db_now(),
    )
    audit.record_all(
        Action.ORDER_ACCEPTED_LATE,
        [
            _change(ack, before)
            for key, ack in acks.items()
            if key in accepted and _late(ack, before)
        ],
        actor=actor,
    )


def _late(ack: ErpAck, before: Mapping[UUID, str]) -> dict[str, str]:
    """What the order had become before this acceptance; empty if it was still pushed."""
    assert ack.export
    status = before[ack.export.draft_order_id]
    return {} if status == OrderStatus.PUSHED else {"order_before": status}


def _change(ack: ErpAck, before: Mapping[UUID, str]) -> Change:
    assert ack.export
    return Change(
        about=ack.export.draft_order,
        before={"status": before[ack.export.draft_order_id]},
        after={
            "status": OrderStatus.PUSHED,
            "export": ack.export.id,
            "filename": ack.export.filename,
            "erp_order_id": ack.erp_order_id,
        },
    )


def _refuse(event: Event, acks: Mapping[UUID, ErpAck], actor: User | None) -> None:
    now = db_now().isoformat()
    lifecycle.apply(
        event,
        list(acks),
        actor=actor,
        details={key: _detail(ack) for key, ack in acks.items()},
        each={key: Columns(error_json=_refusal(ack, now)) for key, ack in acks.items()},
    )


def _detail(ack: ErpAck) -> dict[str, Any]:
    said = {
        "ack": ack.filename,
        "erp_order_id": ack.erp_order_id,
        "erp_code": ack.error_code,
        "message": ack.message,
        "processed_at": ack.processed_at and ack.processed_at.isoformat(),
    }
    return {name: value for name, value in said.items() if value}


def _refusal(ack: ErpAck, at: str) -> dict[str, Any]:
    told = ": ".join(text for text in (ack.error_code, ack.message) if text)
    public = f"The ERP refused the order: {told}" if told else None
    error = ConnectorError("ERP_REFUSED", public=public)
    return {**error.as_json(), "erp_code": ack.error_code, "stage": "ack", "at": at}
