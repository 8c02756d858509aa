"""The circuit breaker of a connection: failures, pauses and tests, under a lock on its row."""

import logging
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from accounts import audit
from accounts.audit import Action
from accounts.models import User
from connectors import ownership, signals
from connectors.errors import CATALOGUE, ConnectorError, Kind
from connectors.models import BY_PERSON, NEVER_TESTED, ErpConnection
from connectors.port import ConnectionReport, ReportStep
from kernel.db import Now, db_now

logger = logging.getLogger(__name__)

_FIRST_RETRY = timedelta(seconds=5)
_LAST_RETRY = timedelta(minutes=10)
_RETEST_AFTER = timedelta(minutes=15)
# Codes of pauses during which acks may be read: these errors concern the delivery of files.
_READABLE = {BY_PERSON, NEVER_TESTED, "DIR_MISSING", "PERMISSION", "NO_RENAME"}

_NO_FAILURES: Final[dict[str, Any]] = {"failures": 0, "failing_since": None, "retry_at": None}


def record_failure(connection: ErpConnection, error: ConnectorError) -> None:
    """Note that the connection failed: pause it, or put off its next attempt.

    The wait doubles from 5 s to 10 min, with up to a fifth of jitter. An error of a configuration
    that has been replaced since says nothing of the present one: it is only logged.
    """
    extra = _ids(connection)
    logger.warning("connection %s: %s", connection.id, error.log_line, exc_info=error, extra=extra)
    with transaction.atomic():
        row = ErpConnection.objects.select_for_update(no_key=True).get(id=connection.id)
        if not _is_same_config(row, connection):
            return
        now = db_now()
        was_paused = row.is_paused
        row.last_error = {**error.as_json(), "at": now.isoformat()}
        if error.code == "DIR_MISSING":
            row.folder_missing_at = now
        if error.kind is Kind.DESTINATION:
            if not row.is_paused:
                row.paused_at, row.pause_code, row.failing_since = now, error.code, None
            elif row.pause_code in _READABLE - {NEVER_TESTED}:
                # Acks are read during such a pause. This error may forbid that: a login that was
                # refused must not be repeated by each poll.
                row.pause_code = error.code
        else:
            wait = min(_FIRST_RETRY * 2 ** min(row.failures, 10), _LAST_RETRY)
            row.failures += 1
            row.failing_since = row.failing_since or now
            row.retry_at = now + wait * random.uniform(1, 1.2)
        row.updated_at = now
        row.save(
            update_fields=[
                "last_error",
                "folder_missing_at",
                "paused_at",
                "pause_code",
                "failures",
                "failing_since",
                "retry_at",
                "updated_at",
            ]
        )
        if row.is_paused and not was_paused:
            signals.paused.send(ErpConnection, connection=row)


def may_read(connection: ErpConnection) -> bool:
    """Whether acks may be read. They may during a pause, unless its cause forbids that, too."""
    if connection.retry_at is not None and connection.retry_at > db_now():
        return False
    if not connection.is_paused:
        return True
    cause = connection.pause_code
    if cause == NEVER_TESTED and connection.last_error:
        cause = connection.last_error["code"]
    spec = CATALOGUE.get(cause)
    is_barred = cause not in _READABLE and spec is not None and spec.kind is Kind.DESTINATION
    return connection.last_test_success is not None and not is_barred


def record_success(connection_id: UUID) -> None:
    """Note that the connection works: forget its failures."""
    ErpConnection.objects.filter(id=connection_id).filter(
        Q(failures__gt=0) | Q(degraded_since__isnull=False) | Q(last_error__isnull=False)
    ).update(**_NO_FAILURES, degraded_since=None, last_error=None, updated_at=Now())


def record_poll(connection_id: UUID, *, is_delivering: bool) -> None:
    """Note that a poll has reached the server, which says little of a delivery.

    Only while there is nothing to deliver are the failures forgotten: a poll may have met them.
    """
    reached = ErpConnection.objects.filter(id=connection_id, paused_at=None)
    if not is_delivering and reached.exists():
        record_success(connection_id)
    else:
        reached.filter(failures=0).update(degraded_since=None)


def pause(connection_id: UUID, *, reason: str, actor: User) -> bool:
    """Stop deliveries for a person; False if a person has paused the connection already.

    A person's pause takes over the system's, so that no passing test lifts it. The code stays:
    what the system has found out is still true.
    """
    pausable = ErpConnection.objects.filter(id=connection_id)
    with transaction.atomic():
        row = pausable.select_for_update(no_key=True).get()
        if row.paused_by_id:
            return False
        pausable.update(
            paused_at=Now(),
            pause_code=row.pause_code or BY_PERSON,
            pause_text=reason,
            paused_by=actor,
            failing_since=None,
            updated_at=Now(),
        )
        audit.record(Action.CONNECTION_PAUSED, row, actor=actor, after={"reason": reason})
        if not row.is_paused:
            row.refresh_from_db()
            signals.paused.send(ErpConnection, connection=row)
    return True


def pause_sentence(connection: ErpConnection) -> str:
    """Why a connection is paused, as a sentence."""
    if connection.paused_by:
        return f"{connection.pause_text} ({connection.paused_by})"
    if connection.pause_code == NEVER_TESTED:
        return _("The connection was not tested since it was set up or changed.")
    spec = CATALOGUE.get(connection.pause_code)
    return spec.message if spec else connection.pause_code


def resume(connection_id: UUID, *, actor: User | None = None) -> bool:
    """Lift any pause, on a person's word; False if there was none, or a test is wanted first.

    A connection that was never tested as it is now then waits for its test alone.
    """
    paused = Q(id=connection_id, paused_at__isnull=False)
    with transaction.atomic():
        row = ErpConnection.objects.select_for_update(no_key=True).get(id=connection_id)
        ErpConnection.objects.filter(paused, last_test_success=None).update(
            paused_by=None, pause_code=NEVER_TESTED, pause_text="", updated_at=Now()
        )
        is_lifted = _lift(paused & Q(last_test_success__isnull=False))
        if is_lifted or row.paused_by_id:
            audit.record(
                Action.CONNECTION_RESUMED,
                row,
                actor=actor,
                before={"reason": row.pause_reason},
                after={} if is_lifted else {"reason": NEVER_TESTED},
            )
    return is_lifted


def retry_now(connection_id: UUID) -> bool:
    """Let the next attempt be made at once, whatever has failed; False while paused."""
    unpaused = ErpConnection.objects.filter(id=connection_id, paused_at=None)
    return bool(unpaused.update(retry_at=None, updated_at=Now()))


def run_test(
    connection: ErpConnection, *, on_step: Callable[[ReportStep], None] | None = None
) -> ConnectionReport:
    """Test a connection now and record the outcome; success lifts a pause by the system.

    An unreadable or invalid configuration is a failed first step. Raises OtherInstance alone.
    """
    ownership.require()
    try:
        config = connection.parse_config()
    except ConnectorError as e:
        step = ReportStep(
            name="configuration", outcome="failed", milliseconds=0, note=e.message, error=e
        )
        report = ConnectionReport(steps=(step,))
    else:
        report = connection.connector.test(config, on_step=on_step)
    with transaction.atomic():
        row = ErpConnection.objects.select_for_update(no_key=True).get(id=connection.id)
        if _is_same_config(row, connection):
            _record_test(row, report)
    if report.error:
        extra = _ids(connection)
        logger.info("test of connection %s: %s", connection.id, report.error.log_line, extra=extra)
    return report


def retest_due() -> int:
    """Test the connections whose folder or rights may have been mended; return how many passed.

    Wrong credentials and host keys are never tried again without a person: accounts get locked.
    """
    due = ErpConnection.objects.filter(
        ownership.is_ours(),
        Q(last_test_at=None) | Q(last_test_at__lt=db_now() - _RETEST_AFTER),
        paused_at__lt=db_now() - _RETEST_AFTER,
        paused_by=None,
        pause_code__in=["DIR_MISSING", "PERMISSION"],
    )
    return sum(run_test(connection).success for connection in due)


def require_test(connection_id: UUID) -> None:
    """Pause a connection that leads to another dropzone now until a test has passed."""
    changed = ErpConnection.objects.filter(id=connection_id)
    changed.update(last_test_success=None)
    changed.filter(paused_by=None).update(paused_at=Now(), pause_code=NEVER_TESTED)
    # What was found out about the former dropzone says nothing of this one.
    changed.filter(paused_by__isnull=False).update(pause_code=BY_PERSON)


def note_degraded(connection_id: UUID) -> None:
    """Note that the server may take long to answer: the connection counts as degraded."""
    ErpConnection.objects.filter(id=connection_id).update(degraded_since=Now())


def note_missing_folder(connection_id: UUID) -> None:
    """Note that a folder of this dropzone is missing: an absent file proves nothing from now on."""
    ErpConnection.objects.filter(id=connection_id).update(folder_missing_at=db_now())


def _record_test(row: ErpConnection, report: ConnectionReport) -> None:
    recorded = ErpConnection.objects.filter(id=row.id)
    recorded.update(
        last_test_at=Now(),
        last_test_success=report.success,
        host_key_seen=report.host_key or "",
        updated_at=Now(),
    )
    if report.success:
        recorded.update(capabilities=report.capabilities)
        record_success(row.id)
        # The pause of a person stays, but nothing else keeps the connection from delivering.
        recorded.filter(paused_by__isnull=False).update(pause_code=BY_PERSON)
        _lift(Q(id=row.id, paused_at__isnull=False, paused_by=None))
    elif report.error and report.error.code == "DIR_MISSING":
        note_missing_folder(row.id)


def _ids(connection: ErpConnection) -> dict[str, UUID]:
    return {"connection_id": connection.id, "org_id": connection.org_id}


def _is_same_config(row: ErpConnection, used: ErpConnection) -> bool:
    return row.config_encrypted.is_same(used.config_encrypted)


def _lift(which: Q) -> bool:
    with transaction.atomic():
        row = ErpConnection.objects.filter(which).select_for_update(no_key=True).first()
        if row is None:
            return False
        ErpConnection.objects.filter(id=row.id).update(
            paused_at=None,
            paused_by=None,
            pause_code="",
            pause_text="",
            **_NO_FAILURES,
            updated_at=Now(),
        )
        signals.recovered.send(ErpConnection, connection=row)
    return True
