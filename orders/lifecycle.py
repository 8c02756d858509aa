"""The lifecycle of orders: the table of legal status changes, and the one function that makes them.

Callers name the event. The table says what it does and which orders it may change.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum, auto
from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.expressions import Combinable

from accounts.models import User
from kernel.db import Now
from orders.models import DraftOrder

Status = DraftOrder.Status


class Cause(Enum):
    """Who may cause an event."""

    PERSON = auto()
    """A user of the admin or of an API token."""
    SYSTEM = auto()
    """A worker, on its own."""
    ERP = auto()
    """An ack, read by a worker or decided about by a person."""

    def allows(self, actor: User | None) -> bool:
        """Return whether an event of this cause may have this actor; None: no person acts."""
        return self is Cause.ERP or (actor is not None) == (self is Cause.PERSON)


class IllegalChange(Exception):
    """A service asked for a change that no row of the table allows: a defect in this code."""


class Event(StrEnum):
    """What changes the status of an order."""

    COMPLETED = "COMPLETED"
    BLOCKED = "BLOCKED"
    APPROVED = "APPROVED"
    APPROVED_AGAIN = "APPROVED_AGAIN"
    REJECTED = "REJECTED"
    PUSHED = "PUSHED"
    RETRIED = "RETRIED"
    CANCELLED = "CANCELLED"
    SENT = "SENT"
    FAILED = "FAILED"
    REFUSED = "REFUSED"
    GIVEN_UP = "GIVEN_UP"
    ACCEPTED = "ACCEPTED"


class Columns(TypedDict, total=False):
    """The columns that may change together with the status."""

    approved_by: User | None
    approved_at: datetime | Combinable | None
    approved_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A row of the table: an event takes orders from one of the `sources` to the `target`.

    `when`: what has happened and what must hold. `sets`: the other columns, with fixed values.
    """

    sources: frozenset[Status]
    target: Status
    causes: frozenset[Cause]
    when: str
    sets: Columns = field(default_factory=Columns)


_UNAPPROVED = Columns(approved_by=None, approved_at=None, approved_hash="")

TRANSITIONS: Final[dict[Event, Transition]] = {
    Event.COMPLETED: Transition(
        sources=frozenset(DraftOrder.EDITABLE),
        target=Status.READY,
        causes=frozenset({Cause.PERSON, Cause.SYSTEM}),
        when="its content or its customer was written, and nothing is missing",
        sets=_UNAPPROVED,
    ),
    Event.BLOCKED: Transition(
        sources=frozenset(DraftOrder.EDITABLE),
        target=Status.NEEDS_REVIEW,
        causes=frozenset({Cause.PERSON, Cause.SYSTEM}),
        when="its content or its customer was written, and something is missing",
        sets=_UNAPPROVED,
    ),
    Event.APPROVED: Transition(
        sources=frozenset({Status.NEEDS_REVIEW, Status.READY}),
        target=Status.APPROVED,
        causes=frozenset({Cause.PERSON}),
        when="a person approves it: nothing is missing, its warnings are confirmed",
    ),
    Event.APPROVED_AGAIN: Transition(
        sources=frozenset({Status.APPROVED, Status.ERROR}),
        target=Status.APPROVED,
        causes=frozenset({Cause.PERSON}),
        when="a person approves it, and its content has changed since the last approval",
    ),
    Event.REJECTED: Transition(
        sources=frozenset({Status.NEEDS_REVIEW, Status.READY, Status.APPROVED}),
        target=Status.REJECTED,
        causes=frozenset({Cause.PERSON}),
        when="a person rejects it",
    ),
    Event.PUSHED: Transition(
        sources=frozenset({Status.APPROVED}),
        target=Status.PUSHING,
        causes=frozenset({Cause.PERSON}),
        when="a person pushes it: it is as it was approved, and has no live export",
    ),
    Event.RETRIED: Transition(
        sources=frozenset({Status.APPROVED, Status.ERROR}),
        target=Status.PUSHING,
        causes=frozenset({Cause.PERSON}),
        when="a person retries it: its latest export failed, it is as it was approved",
    ),
    Event.CANCELLED: Transition(
        sources=frozenset({Status.PUSHING}),
        target=Status.APPROVED,
        causes=frozenset({Cause.PERSON}),
        when="a person cancels its export",
    ),
    Event.SENT: Transition(
        sources=frozenset({Status.PUSHING}),
        target=Status.PUSHED,
        causes=frozenset({Cause.SYSTEM, Cause.PERSON}),
        when="its export is sent, or a person says that it was delivered",
    ),
    Event.FAILED: Transition(
        sources=frozenset({Status.PUSHING}),
        target=Status.ERROR,
        causes=frozenset({Cause.SYSTEM, Cause.PERSON}),
        when="its export failed, or a person says that it was not delivered",
    ),
    Event.REFUSED: Transition(
        sources=frozenset({Status.PUSHING, Status.PUSHED}),
        target=Status.ERROR,
        causes=frozenset({Cause.ERP}),
        when="the ERP refuses it",
    ),
    Event.GIVEN_UP: Transition(
        sources=frozenset({Status.PUSHED}),
        target=Status.ERROR,
        causes=frozenset({Cause.PERSON}),
        when="a person says that the ERP will not process its export",
    ),
    Event.ACCEPTED: Transition(
        sources=frozenset(set(Status) - {Status.PUSHED}),
        target=Status.PUSHED,
        causes=frozenset({Cause.ERP}),
        when="the ERP accepts an export of it late, and no other export is live",
    ),
}


def apply(
    event: Event,
    order_ids: Collection[UUID],
    *,
    actor: User | None = None,
    **columns: Unpack[Columns],
) -> int:
    """Apply an event to those of the orders that it may change now; return their number.

    Raises IllegalChange if the event may not have this actor.
    """
    transition = TRANSITIONS[event]
    check_cause(event, transition.causes, actor)
    changing: Mapping[str, object] = {**transition.sets, **columns}
    orders = DraftOrder.objects.filter(id__in=order_ids, status__in=transition.sources)
    return orders.update(status=transition.target, updated_at=Now(), **changing)


def may_happen(event: Event, status: str) -> bool:
    """Return whether the table lets an event change orders of a status."""
    return status in TRANSITIONS[event].sources


def check_cause(event: StrEnum, causes: Collection[Cause], actor: User | None) -> None:
    """Raise IllegalChange if an event of these causes may not have this actor."""
    if not any(cause.allows(actor) for cause in causes):
        raise IllegalChange(f"{event} {'without' if actor is None else 'by'} a person")


def lock_orders(order_ids: Collection[UUID] | QuerySet[Any, Any]) -> dict[UUID, str]:
    """Lock orders before a change of their exports; return the status of each.

    Every writer locks orders before exports, and both in the order of their ids. Otherwise two
    writers could deadlock. Read rows after the lock; what was read before it may be old.
    """
    rows = DraftOrder.objects.filter(id__in=order_ids).order_by("id")
    return dict(rows.select_for_update(no_key=True).values_list("id", "status"))
