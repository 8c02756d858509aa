"""What a delivery notes of an export: it is sent, an attempt has failed, it is given up."""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from django.conf import settings

from accounts.models import User
from connectors.errors import ConnectorError, Kind
from connectors.port import Evidence
from exports import lifecycle
from exports.lifecycle import Columns, Event, ids_of
from exports.models import ErpExport, ErpExportEvent
from kernel.backoff import wait_after
from kernel.db import db_now

logger = logging.getLogger(__name__)


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
    sent = lifecycle.apply(
        Event.RESOLVED_DELIVERED if actor else Event.SENT,
        [e.id for e in exports],
        actor=actor,
        details={
            key: {"path": path, "evidence": evidence, **({"reason": reason} if reason else {})}
            for key, path in paths.items()
        },
        each={key: {"dropzone_path": path} for key, path in paths.items()},
        sent_at=now,
        sent_evidence=evidence,
        ack_due_at=now + ack_deadline if ack_deadline else None,
    )
    return len(sent)


def note_failure(export: ErpExport, error: ConnectorError, *, stage: str) -> None:
    """Note an export's own error: when it is tried again, or that it is given up."""
    logger.warning(
        "export %s: %s: %s", export.id, stage, error.log_line, exc_info=error, extra=ids_of(export)
    )
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
    failures = export.events.filter(kind=ErpExportEvent.Kind.ATTEMPT_FAILED, at__lt=oldest)
    is_too_old = export.created_at < oldest and failures.exists()
    is_hopeless = error.kind is Kind.ORDER or (is_too_old and error.kind is Kind.FILE)
    # Given up only while nothing is staged: a claimed export rolls forward for ever.
    if is_hopeless and fail(export, report):
        return
    lifecycle.apply(
        Event.ATTEMPT_FAILED,
        [export.id],
        details={export.id: report},
        error_json=report,
        next_attempt_at=None if wait is None else now + wait,
    )


def note_connection_failure(
    exports: Sequence[ErpExport], error: ConnectorError, *, is_reached: bool
) -> None:
    """Note of the exports of a batch that their dropzone was not reached, or lost."""
    report = {**error.as_json(), "at": db_now().isoformat()}
    changes = Columns(error_json=report)
    if is_reached and len(exports) == 1:
        # It was alone when the connection broke, so that others go first next time.
        changes["next_attempt_at"] = db_now() + wait_after(exports[0].attempts + 1)
    lifecycle.apply(
        Event.ATTEMPT_FAILED,
        [e.id for e in exports],
        details={e.id: report for e in exports},
        **changes,
    )


def fail(export: ErpExport, report: Mapping[str, object]) -> bool:
    """Give an export up, unless something of it is staged. Return whether it was given up."""
    failed = lifecycle.apply(
        Event.FAILED, [export.id], details={export.id: report}, error_json=report
    )
    return bool(failed)
