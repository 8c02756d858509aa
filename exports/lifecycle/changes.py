"""The changes of exports: each is made here, by its event's row of the table.

The history, the status of the order, the line in the log and the notification hang on the event:
whoever changes an export only names it.
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
    """Write new exports, and let `order_event` change their orders, which are locked.

    Raises IllegalChange if that event may not change one of the orders.
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
    """Let an event change the exports that it may change now; return the ids of those.

    Their orders change with them. `columns` are set alike on all, `each` has what differs from one
    export to another. Another writer may be faster: an export whose id is missing in the result was
    not changed. No actor: the system, or the ERP. Raises IllegalChange if the event may not have
    this actor.
    """
    transition = TRANSITIONS[event]
    check_cause(event, transition.causes, actor)
    if not ids:
        return set()
    with transaction.atomic():
        if transition.order:
            lifecycle.lock_orders(_orders_of(ids))
        rows = ErpExport.objects.filter(eligible_for(event), id__in=ids)
        # In one order, so that two workers with overlapping batches cannot block each other.
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
    """Write an event that changes nothing into the history of locked exports.

    Raises IllegalChange if one of them has a status in which the event cannot happen, or if a
    person has to cause it.
    """
    transition = TRANSITIONS[event]
    check_cause(event, transition.causes, None)
    assert transition.target is None, "an event that changes a status is applied"
    for export in exports:
        if export.status not in transition.sources:
            raise IllegalChange(f"{event} of an export that is {export.status}")
    _write_history(transition, exports, actor=None, details=details)


def lock_exports(ids: Collection[UUID]) -> dict[UUID, ErpExport]:
    """Lock exports and, before them, their orders; return the exports as they are now.

    Their payloads are left unread.
    """
    lifecycle.lock_orders(_orders_of(ids))
    rows = ErpExport.objects.filter(id__in=ids).order_by("id")
    return {export.id: export for export in rows.select_for_update(no_key=True).defer("payload")}


def ids_of(export: ErpExport) -> dict[str, UUID]:
    """An export's ids, as log lines about it carry them."""
    return {
        "export_id": export.id,
        "connection_id": export.erp_connection_id,
        "org_id": export.org_id,
    }


def _orders_of(ids: Collection[UUID]) -> QuerySet[ErpExport, Any]:
    return ErpExport.objects.filter(id__in=ids).values("draft_order")


def _cases(each: Mapping[UUID, Columns], ids: Collection[UUID]) -> dict[str, Case]:
    """One expression a column, which holds for each of some exports what is its own."""
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
    """Note an event of exports, which have their new status already."""
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
    """Tell the outbox of a new status now, and the log once it is certain."""
    if transition.target is None:
        return
    if transition.notifies:
        publish_export_events(transition.notifies, exports, by_person=actor is not None)

    def log() -> None:
        for export in exports:
            # An ERP's refusal, say, was raised by nothing of ours: no other line has its id.
            error = f" [{export.error_json['correlation_id']}]" if export.error_json else ""
            logger.info(
                "export %s: %s%s", export.id, transition.kind.value, error, extra=ids_of(export)
            )

    transaction.on_commit(log, robust=True)
