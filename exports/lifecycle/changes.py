"""The changes of exports: every change is made here, as the row of its event says.

Callers only name the event. It also determines the entry in the history, the status of the order,
the log line and the notification.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Unpack
from uuid import UUID

from django.db import models, transaction
from django.db.models import Case, QuerySet, Value, When

from accounts.models import User
from exports.events import publish_export_events
from exports.lifecycle.transitions import TRANSITIONS, Columns, Event, Transition, eligible_for
from exports.models import ErpExport, ErpExportEvent
from kernel.db import Now, retried
from orders import lifecycle
from orders.lifecycle import IllegalChange, check_cause

logger = logging.getLogger("exports.lifecycle")

Details = Mapping[UUID, Mapping[str, Any]]
"""What the history says of an event, as JSON, for each export."""


def create(exports: Sequence[ErpExport], *, order_event: lifecycle.Event, actor: User) -> None:
    """Insert new exports and apply `order_event` to their orders, which the caller has locked.

    Raises IllegalChange if the event may not change one of the orders.
    """
    created = TRANSITIONS[Event.CREATED]
    check_cause(Event.CREATED, created.causes, actor)
    assert created.target
    for export in exports:
        export.status = created.target
    ErpExport.objects.bulk_create(exports)
    _write_history(created, exports, actor=actor)
    moved = lifecycle.apply(order_event, [e.draft_order_id for e in exports], actor=actor)
    if moved != len(exports):
        raise IllegalChange(f"{order_event} changed {moved} of {len(exports)} orders")
    _tell(created, exports, actor=actor)


@retried
def apply(
    event: Event,
    ids: Collection[UUID],
    *,
    actor: User | None = None,
    details: Details | None = None,
    each: Mapping[UUID, Columns] | None = None,
    **columns: Unpack[Columns],
) -> set[UUID]:
    """Apply an event to those of the exports that it may change now; return their ids.

    Their orders change with them. `columns` has the same values for all exports, `each` those that
    differ. An export whose id is missing in the result was not changed, because another writer was
    faster. No actor: the system or the ERP. Raises IllegalChange if the event may not have this
    actor.
    """
    transition = TRANSITIONS[event]
    check_cause(event, transition.causes, actor)
    if not ids:
        return set()
    with transaction.atomic():
        if transition.order:
            lifecycle.lock_orders(_orders_of(ids))
        rows = ErpExport.objects.filter(eligible_for(event), id__in=ids)
        # Always lock in the order of ids: two workers with overlapping batches would deadlock.
        locked = rows.select_for_update(no_key=True).order_by("id")
        exports = list(locked.only("id", "draft_order", "erp_connection", "org", "status"))
        changed = {export.id for export in exports}
        if not changed:
            return set()
        changing: dict[str, Any] = {**transition.sets, **columns, **_cases(each or {}, changed)}
        if transition.target:
            changing["status"] = transition.target
        count = rows.filter(id__in=changed).update(updated_at=Now(), **changing)
        assert count == len(changed), "a locked export changed under its lock"
        for export in exports:
            export.status = transition.target or export.status
            export.error_json = {**columns, **(each or {}).get(export.id, {})}.get("error_json")
        _write_history(transition, exports, actor=actor, details=details)
        if transition.order:
            lifecycle.apply(transition.order, [e.draft_order_id for e in exports], actor=actor)
        _tell(transition, exports, actor=actor)
    return changed


def note(event: Event, exports: Sequence[ErpExport], *, details: Details) -> None:
    """Add an event that changes no column to the history of locked exports.

    Raises IllegalChange if the event cannot happen in the status of one of them, or if a person
    has to cause it.
    """
    transition = TRANSITIONS[event]
    check_cause(event, transition.causes, None)
    assert transition.target is None, "an event that changes a status is applied"
    for export in exports:
        if export.status not in transition.sources:
            raise IllegalChange(f"{event} of an export that is {export.status}")
    _write_history(transition, exports, actor=None, details=details)


def lock_exports(ids: Collection[UUID]) -> dict[UUID, ErpExport]:
    """Lock the orders, then their exports; return the exports as they are now, without payloads."""
    lifecycle.lock_orders(_orders_of(ids))
    rows = ErpExport.objects.filter(id__in=ids).order_by("id")
    return {export.id: export for export in rows.select_for_update(no_key=True).defer("payload")}


def ids_of(export: ErpExport) -> dict[str, UUID]:
    """Return the ids that log lines about an export contain."""
    return {
        "export_id": export.id,
        "connection_id": export.erp_connection_id,
        "org_id": export.org_id,
    }


def _orders_of(ids: Collection[UUID]) -> QuerySet[ErpExport, Any]:
    return ErpExport.objects.filter(id__in=ids).values("draft_order")


def _cases(each: Mapping[UUID, Columns], ids: Collection[UUID]) -> dict[str, Case]:
    """Return one CASE expression for each column, with the value of each export."""
    own: dict[UUID, Mapping[str, Any]] = {key: each.get(key, {}) for key in ids}
    cases = {}
    for name in {name for columns in own.values() for name in columns}:
        column = ErpExport._meta.get_field(name)
        assert isinstance(column, models.Field)
        cases[name] = Case(
            *(
                When(id=key, then=Value(columns[name], output_field=column))
                for key, columns in own.items()
            ),
            output_field=column,
        )
    return cases


def _write_history(
    transition: Transition,
    exports: Iterable[ErpExport],
    *,
    actor: User | None,
    details: Details | None = None,
) -> None:
    """Add an event to the history of exports that already have their new status."""
    ErpExportEvent.objects.bulk_create(
        ErpExportEvent(
            export=export,
            kind=transition.kind,
            status=export.status,
            actor=actor,
            detail=(details or {}).get(export.id, {}),
        )
        for export in exports
    )


def _tell(transition: Transition, exports: Sequence[ErpExport], *, actor: User | None) -> None:
    """Write a new status to the outbox now, and to the log after the commit."""
    if transition.target is None:
        return
    if transition.notifies:
        publish_export_events(transition.notifies, exports, by_person=actor is not None)

    def log() -> None:
        for export in exports:
            # An error that the ERP reports raises no exception, so this is its only log line.
            error = f" [{export.error_json['correlation_id']}]" if export.error_json else ""
            logger.info(
                "export %s: %s%s", export.id, transition.kind.value, error, extra=ids_of(export)
            )

    transaction.on_commit(log, robust=True)
