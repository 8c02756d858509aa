"""The table of all legal changes of exports: event, from, to, who may cause it, what must hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypedDict

from django.db.models import Case, F, Q, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce

from exports.models import ErpExport, ErpExportEvent
from kernel.db import Now
from notifications.models import EventType
from orders import lifecycle
from orders.lifecycle import Cause

Status = ErpExport.Status
Kind = ErpExportEvent.Kind


class Event(StrEnum):
    """What happens to an export."""

    CREATED = "CREATED"
    STAGING = "STAGING"
    CLAIMED = "CLAIMED"
    RESUMED = "RESUMED"
    ATTEMPT_FAILED = "ATTEMPT_FAILED"
    HELD = "HELD"
    RELEASED = "RELEASED"
    REQUESTED = "REQUESTED"
    EXPEDITED = "EXPEDITED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    SENT = "SENT"
    RESOLVING = "RESOLVING"
    RESOLVED_DELIVERED = "RESOLVED_DELIVERED"
    RESOLVED_NOT_DELIVERED = "RESOLVED_NOT_DELIVERED"
    RESOLVED_GIVEN_UP = "RESOLVED_GIVEN_UP"
    PICKED_UP = "PICKED_UP"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    REFUSED = "REFUSED"
    ACCEPTED_LATE = "ACCEPTED_LATE"
    RENUMBERED = "RENUMBERED"
    REVOKED = "REVOKED"
    CONTRADICTED = "CONTRADICTED"
    CLEANED_UP = "CLEANED_UP"


class Columns(TypedDict, total=False):
    """The columns of an export that events change, beside its status."""

    attempts: int | Combinable
    next_attempt_at: datetime | Combinable | None
    error_json: Mapping[str, Any] | None
    staged_path: str
    staged_at: datetime | Combinable
    destination: Mapping[str, Any]
    dropzone_path: str
    resolving_since: datetime | Combinable
    cleaned_up_at: datetime | Combinable | None
    sent_at: datetime | Combinable
    sent_evidence: str | Combinable
    picked_up_at: datetime | Combinable
    acked_at: datetime | Combinable | None
    ack_due_at: datetime | Combinable | None
    erp_order_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A row of the table: an event takes exports from one of the `sources` to the `target`.

    No target: the status stays. No sources: the export is new. `when`: what has happened and what
    must hold; `requires`: the part of it that the database checks. `sets`: the other columns, with
    fixed values. `kind`: the name in the history. `order`: the event of the order. `notifies`: the
    notification that is sent.
    """

    sources: frozenset[Status]
    target: Status | None = None
    causes: frozenset[Cause]
    when: str
    kind: Kind
    requires: Q = field(default_factory=Q)
    sets: Columns = field(default_factory=Columns)
    order: lifecycle.Event | None = None
    notifies: EventType | None = None


_BY_SYSTEM = frozenset({Cause.SYSTEM})
_BY_PERSON = frozenset({Cause.PERSON})
_BY_ERP = frozenset({Cause.ERP})
_NEW = frozenset[Status]()
_PENDING = frozenset({Status.PENDING})
_SENT = frozenset({Status.SENT})
_ACKED = frozenset({Status.ACKED})
_FAILED = frozenset({Status.FAILED})

UNSTAGED = Q(staged_path=None)
STAGED = Q(staged_path__isnull=False)
# Exports that may have left staging files: those with several attempts, and those that failed after
# an attempt.
TO_CLEAN_UP = Q(cleaned_up_at=None) & (
    STAGED & Q(attempts__gt=1) | UNSTAGED & Q(status=Status.FAILED, attempts__gt=0)
)
_IS_SENT = Columns(
    next_attempt_at=None,
    error_json=None,
    # The staged file may still exist, after a rename by link and unlink or after a manual
    # resolution. The cleanup looks for it if there was more than one attempt.
    cleaned_up_at=None,
)

TRANSITIONS: Final[dict[Event, Transition]] = {
    Event.CREATED: Transition(
        sources=_NEW,
        target=Status.PENDING,
        causes=_BY_PERSON,
        when="a person pushes or retries the order, which has no live export",
        kind=Kind.CREATED,
    ),
    Event.STAGING: Transition(
        sources=_PENDING,
        causes=_BY_SYSTEM,
        when="a worker is about to write its staging file; none is claimed",
        kind=Kind.STAGING,
        requires=UNSTAGED,
        sets=Columns(attempts=F("attempts") + 1),
    ),
    Event.CLAIMED: Transition(
        sources=_PENDING,
        causes=_BY_SYSTEM,
        when="its staging file was written and becomes the claimed one; none was claimed before",
        kind=Kind.STAGED,
        requires=UNSTAGED,
        sets=Columns(staged_at=Now()),
    ),
    Event.RESUMED: Transition(
        sources=_PENDING,
        causes=_BY_SYSTEM,
        when="a worker goes on with the file that an earlier attempt staged",
        kind=Kind.RESUMED,
        requires=STAGED,
        sets=Columns(attempts=F("attempts") + 1),
    ),
    Event.ATTEMPT_FAILED: Transition(
        sources=_PENDING,
        causes=_BY_SYSTEM,
        when="an attempt failed; the next one has a time, or needs a decision",
        kind=Kind.ATTEMPT_FAILED,
    ),
    Event.HELD: Transition(
        sources=_PENDING,
        causes=_BY_SYSTEM,
        when="after a restore it is not known whether it was sent; no file is staged",
        kind=Kind.ATTEMPT_FAILED,
        requires=UNSTAGED & Q(next_attempt_at__isnull=False),
        # Count this as an attempt, because it may have been sent before the restore: the cleanup
        # then looks for its files, and pages show it as tried.
        sets=Columns(next_attempt_at=None, attempts=F("attempts") + 1),
    ),
    Event.RELEASED: Transition(
        sources=_PENDING,
        causes=_BY_SYSTEM,
        when="an operator releases an export that was held after a restore",
        kind=Kind.REQUESTED,
        requires=UNSTAGED & Q(next_attempt_at=None, error_json__code="UNTRACED"),
        sets=Columns(next_attempt_at=Now(), error_json=None),
    ),
    Event.REQUESTED: Transition(
        sources=_PENDING,
        causes=_BY_PERSON,
        when="a person chooses to try it again now",
        kind=Kind.REQUESTED,
        sets=Columns(next_attempt_at=Now()),
    ),
    Event.EXPEDITED: Transition(
        sources=_PENDING,
        causes=_BY_PERSON,
        when="a person chooses to try all of its connection again now; it needs no decision",
        kind=Kind.REQUESTED,
        requires=Q(next_attempt_at__isnull=False),
        sets=Columns(next_attempt_at=Now()),
    ),
    Event.CANCELLED: Transition(
        sources=_PENDING,
        target=Status.FAILED,
        causes=_BY_PERSON,
        when="a person cancels it; no file is staged",
        kind=Kind.CANCELLED,
        requires=UNSTAGED,
        sets=Columns(next_attempt_at=None),
        order=lifecycle.Event.CANCELLED,
        notifies=EventType.EXPORT_FAILED,
    ),
    Event.FAILED: Transition(
        sources=_PENDING,
        target=Status.FAILED,
        causes=_BY_SYSTEM,
        when="it cannot be sent, or has failed for too long; no file is staged",
        kind=Kind.FAILED,
        requires=UNSTAGED,
        sets=Columns(next_attempt_at=None),
        order=lifecycle.Event.FAILED,
        notifies=EventType.EXPORT_FAILED,
    ),
    Event.SENT: Transition(
        sources=_PENDING,
        target=Status.SENT,
        causes=_BY_SYSTEM,
        when="its file became visible under its name",
        kind=Kind.SENT,
        sets=_IS_SENT,
        order=lifecycle.Event.SENT,
        notifies=EventType.EXPORT_SENT,
    ),
    Event.RESOLVING: Transition(
        sources=_PENDING,
        causes=_BY_PERSON,
        when="a person is about to remove its staged file",
        kind=Kind.RESOLVING,
        requires=STAGED,
        sets=Columns(resolving_since=Now()),
    ),
    Event.RESOLVED_DELIVERED: Transition(
        sources=_PENDING,
        target=Status.SENT,
        causes=_BY_PERSON,
        when="a person says that it was delivered; it is staged or needs a decision",
        kind=Kind.RESOLVED,
        requires=STAGED | Q(next_attempt_at=None),
        sets={**_IS_SENT, "attempts": F("attempts") + 1},
        order=lifecycle.Event.SENT,
        notifies=EventType.EXPORT_SENT,
    ),
    Event.RESOLVED_NOT_DELIVERED: Transition(
        sources=_PENDING,
        target=Status.FAILED,
        causes=_BY_PERSON,
        when="a person says that it was not delivered; it is staged",
        kind=Kind.RESOLVED,
        requires=STAGED,
        sets=Columns(next_attempt_at=None, attempts=F("attempts") + 1),
        order=lifecycle.Event.FAILED,
        notifies=EventType.EXPORT_FAILED,
    ),
    Event.RESOLVED_GIVEN_UP: Transition(
        sources=_SENT,
        target=Status.FAILED,
        causes=_BY_PERSON,
        when="a person says that the ERP will not process it, although it was sent",
        kind=Kind.RESOLVED,
        sets=Columns(attempts=F("attempts") + 1),
        order=lifecycle.Event.GIVEN_UP,
        notifies=EventType.EXPORT_FAILED,
    ),
    Event.PICKED_UP: Transition(
        sources=_SENT,
        causes=_BY_SYSTEM,
        when="its file has left the folder",
        kind=Kind.PICKED_UP,
        requires=Q(picked_up_at=None),
        sets=Columns(picked_up_at=Now()),
    ),
    Event.ACKNOWLEDGED: Transition(
        sources=_SENT,
        target=Status.ACKED,
        causes=_BY_ERP,
        when="the ERP accepts it",
        kind=Kind.ACKED,
        order=lifecycle.Event.ACCEPTED,
        notifies=EventType.EXPORT_ACKED,
    ),
    Event.REFUSED: Transition(
        sources=_SENT,
        target=Status.FAILED,
        causes=_BY_ERP,
        when="the ERP refuses it",
        kind=Kind.REFUSED,
        order=lifecycle.Event.REFUSED,
        notifies=EventType.EXPORT_FAILED,
    ),
    Event.ACCEPTED_LATE: Transition(
        sources=_FAILED,
        target=Status.ACKED,
        causes=_BY_PERSON,
        when="a person accepts an ack by which the ERP accepts it after all; no other is live",
        kind=Kind.ACKED,
        sets=Columns(
            error_json=None,
            # The export may have failed before its delivery was confirmed; the ack confirms it.
            sent_at=Coalesce(F("sent_at"), Now()),
            sent_evidence=Case(
                When(sent_evidence="", then=Value(ErpExport.SentEvidence.CONFIRMED)),
                default=F("sent_evidence"),
            ),
        ),
        order=lifecycle.Event.ACCEPTED,
        notifies=EventType.EXPORT_ACKED,
    ),
    Event.RENUMBERED: Transition(
        sources=_ACKED,
        target=Status.ACKED,
        causes=_BY_PERSON,
        when="a person accepts an ack by which the ERP gives it another number",
        kind=Kind.ACKED,
        notifies=EventType.EXPORT_ACKED,
    ),
    Event.REVOKED: Transition(
        sources=_ACKED,
        target=Status.FAILED,
        causes=_BY_PERSON,
        when="a person accepts an ack by which the ERP refuses it after all",
        kind=Kind.REFUSED,
        sets=Columns(erp_order_id=None, acked_at=None),
        order=lifecycle.Event.REFUSED,
        notifies=EventType.EXPORT_FAILED,
    ),
    Event.CONTRADICTED: Transition(
        sources=_ACKED | _FAILED,
        causes=_BY_ERP,
        when="an ack contradicts an earlier one or comes late; a person decides",
        kind=Kind.CONTRADICTED,
    ),
    Event.CLEANED_UP: Transition(
        sources=frozenset(Status),
        causes=_BY_SYSTEM,
        when="staging files that it does not need were removed",
        kind=Kind.CLEANED_UP,
        requires=TO_CLEAN_UP,
        sets=Columns(cleaned_up_at=Now()),
    ),
}


def eligible_for(event: Event) -> Q:
    """Return the condition under which an event may change an export."""
    transition = TRANSITIONS[event]
    return Q(status__in=transition.sources) & transition.requires


def legal_steps() -> frozenset[tuple[Status, Status]]:
    """Return all steps (before, after) that the table allows, also those that keep the status."""
    return frozenset(
        (source, transition.target or source)
        for transition in TRANSITIONS.values()
        for source in transition.sources
    )


def allows(kind: str, before: str, after: str) -> bool:
    """Return whether an event of this kind may change an export's status from before to after."""
    return any(
        transition.kind == kind
        and before in transition.sources
        and after == (transition.target or before)
        for transition in TRANSITIONS.values()
    )
