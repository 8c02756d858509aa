"""Ack application: an ack that counts changes its export and the order."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Coalesce

from accounts import audit
from accounts.audit import Action, Change
from accounts.models import User
from connectors.errors import ConnectorError
from exports.lifecycle import advance
from exports.models import ErpAck, ErpExport, ErpExportEvent
from kernel.db import db_now
from orders import lifecycle
from orders.models import DraftOrder

OrderStatus = DraftOrder.Status
_NOT_PUSHED = [status for status in OrderStatus if status != OrderStatus.PUSHED]


def apply(acks: Sequence[ErpAck], *, expected: ErpExport.Status, actor: User | None = None) -> int:
    """Let answers to different exports count; return how many did.

    An export that has left the `expected` status meanwhile stays as it is. To be called within the
    transaction that records the answers, which has locked the exports. None of the exports that are
    accepted may have a live one beside it.
    """
    return _accept([ack for ack in acks if ack.is_accepted], expected, actor) + _refuse(
        [ack for ack in acks if not ack.is_accepted], expected, actor
    )


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


def _accept(acks: Sequence[ErpAck], expected: str, actor: User | None) -> int:
    now = db_now()
    exports = {ack.export_id: ack for ack in acks if ack.export_id}
    before = lifecycle.lock(_orders(acks, exports))
    acked = advance(
        list(exports),
        kind=ErpExportEvent.Kind.ACKED,
        where=Q(status=expected),
        actor=actor,
        details={key: _detail(ack) | _late(ack, before) for key, ack in exports.items()},
        values={"erp_order_id": {key: ack.erp_order_id for key, ack in exports.items()}},
        status=ErpExport.Status.ACKED,
        acked_at=now,
        error_json=None,
        **_sent_after_all(expected, now),
    )
    # The order is in the ERP, whatever a person has done with it here since it was sent.
    lifecycle.transition(_orders(acks, acked), expect=_NOT_PUSHED, to=OrderStatus.PUSHED)
    audit.record_all(
        Action.ORDER_ACCEPTED_LATE,
        [
            _change(ack, before)
            for key, ack in exports.items()
            if key in acked and _late(ack, before)
        ],
        actor=actor,
    )
    return len(acked)


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


def _sent_after_all(expected: str, now: datetime) -> dict[str, Any]:
    """What an export lacks that failed before anybody knew that it was sent."""
    if expected != ErpExport.Status.FAILED:
        return {}
    return {
        "sent_at": Coalesce(F("sent_at"), Value(now)),
        "sent_evidence": Case(
            When(sent_evidence="", then=Value(ErpExport.SentEvidence.CONFIRMED)),
            default=F("sent_evidence"),
        ),
    }


def _refuse(acks: Sequence[ErpAck], expected: str, actor: User | None) -> int:
    now = db_now().isoformat()
    exports = {ack.export_id: ack for ack in acks if ack.export_id}
    lifecycle.lock(_orders(acks, exports))
    refused = advance(
        list(exports),
        kind=ErpExportEvent.Kind.REFUSED,
        where=Q(status=expected),
        actor=actor,
        details={key: _detail(ack) for key, ack in exports.items()},
        values={"error_json": {key: _refusal(ack, now) for key, ack in exports.items()}},
        status=ErpExport.Status.FAILED,
        erp_order_id=None,
        acked_at=None,
    )
    # What a person has decided about the order since it was sent stands.
    lifecycle.transition(
        _orders(acks, refused),
        expect=[OrderStatus.PUSHING, OrderStatus.PUSHED],
        to=OrderStatus.ERROR,
    )
    return len(refused)


def _orders(acks: Sequence[ErpAck], exports: Collection[UUID]) -> list[UUID]:
    return [ack.export.draft_order_id for ack in acks if ack.export and ack.export.id in exports]


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
