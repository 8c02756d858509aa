"""What a delivery notes of an export: it is sent, an attempt has failed, it is given up."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from accounts.models import User
from connectors.errors import ConnectorError, Kind
from connectors.port import Evidence
from exports.lifecycle import advance
from exports.models import ErpExport, ErpExportEvent
from kernel.backoff import wait_after
from kernel.db import db_now, retried
from orders import lifecycle
from orders.models import DraftOrder

_PENDING = Q(status=ErpExport.Status.PENDING)
_UNSTAGED = _PENDING & Q(staged_path=None)
Events = ErpExportEvent.Kind


@retried
def mark_sent(
    exports: Sequence[ErpExport],
    evidence: Evidence,
    paths: Mapping[UUID, str],
    *,
    ack_deadline: timedelta | None,
    actor: User | None = None,
    reason: str = "",
) -> int:
    """Step 5 of the protocol: note that exports became visible at `paths`; return how many."""
    if ack_deadline and evidence is Evidence.INFERRED:
        ack_deadline /= 2
    now = db_now()
    with transaction.atomic():
        lifecycle.lock([e.draft_order_id for e in exports])
        sent = advance(
            [e.id for e in exports],
            kind=Events.SETTLED if actor else Events.SENT,
            where=_PENDING,
            actor=actor,
            details={
                key: {"path": path, "evidence": evidence, **({"reason": reason} if reason else {})}
                for key, path in paths.items()
            },
            values={"dropzone_path": paths},
            status=ErpExport.Status.SENT,
            sent_at=now,
            sent_evidence=evidence,
            ack_due_at=ack_deadline and now + ack_deadline,
            next_attempt_at=None,
            error_json=None,
            # A rename by link and unlink may have left the staged file as well, and so may a
            # person; the janitor looks where there was more than one attempt.
            swept_at=None,
            attempts=F("attempts") + (1 if actor else 0),
        )
        lifecycle.transition(
            [e.draft_order_id for e in exports if e.id in sent],
            expect=[DraftOrder.Status.PUSHING],
            to=DraftOrder.Status.PUSHED,
        )
    return len(sent)


def note_failure(export: ErpExport, error: ConnectorError, *, stage: str) -> None:
    """Note an export's own error: when it is tried again, or that it is given up."""
    now = db_now()
    attempt = export.attempts + 1
    wait: timedelta | None = wait_after(attempt)
    if error.kind is Kind.DECISION:
        wait = None
    elif error.kind in (Kind.DESTINATION, Kind.REACH):
        # It is the connection that waits.
        wait = timedelta(0)
    report = {**error.as_json(), "stage": stage, "attempt": attempt, "at": now.isoformat()}
    oldest = now - timedelta(hours=settings.EXPORT_GIVE_UP_HOURS)
    # Counted from the first failure: waiting for a paused connection is no failure.
    failures = export.events.filter(kind=Events.ATTEMPT_FAILED, at__lt=oldest)
    is_too_old = export.created_at < oldest and failures.exists()
    is_hopeless = error.kind is Kind.ORDER or (is_too_old and error.kind is Kind.FILE)
    # Given up only while nothing is staged: an elected export rolls forward for ever.
    if is_hopeless and fail(export, report):
        return
    advance(
        [export.id],
        kind=Events.ATTEMPT_FAILED,
        where=_PENDING,
        details={export.id: report},
        error_json=report,
        next_attempt_at=None if wait is None else now + wait,
    )


def note_connection_failure(
    exports: Sequence[ErpExport], error: ConnectorError, *, is_reached: bool
) -> None:
    """Note of the exports of a batch that their dropzone was not reached, or lost."""
    report = {**error.as_json(), "at": db_now().isoformat()}
    changes: dict[str, Any] = {"error_json": report}
    if is_reached and len(exports) == 1:
        # It was alone when the connection broke, so that others go first next time.
        changes["next_attempt_at"] = db_now() + wait_after(exports[0].attempts + 1)
    advance(
        [e.id for e in exports],
        kind=Events.ATTEMPT_FAILED,
        where=_PENDING,
        details={e.id: report for e in exports},
        **changes,
    )


@retried
def fail(export: ErpExport, report: dict[str, object]) -> bool:
    """Give an export up, unless something of it is staged. Return whether it was given up."""
    with transaction.atomic():
        lifecycle.lock([export.draft_order_id])
        failed = advance(
            [export.id],
            kind=Events.FAILED,
            where=_UNSTAGED,
            details={export.id: report},
            status=ErpExport.Status.FAILED,
            error_json=report,
            next_attempt_at=None,
        )
        if failed:
            lifecycle.transition(
                [export.draft_order_id],
                expect=[DraftOrder.Status.PUSHING],
                to=DraftOrder.Status.ERROR,
            )
    return bool(failed)
