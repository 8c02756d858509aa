"""Delivery: each export becomes visible to the ERP exactly once, through any crash.

No transaction spans the database and the dropzone. The staged file is a token that can be used
once: exactly one staged file of an export is claimed in the database, and the rename that makes it
visible consumes it. From the claim on an export only rolls forward. docs/delivery.md has the
protocol with its reasons; the names of the steps here are those there.

`deliver` takes the lease, `deliver_batches` the session, and `_deliver_batch` goes step by step.
"""

import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from django.db import Error as DatabaseFailure
from django.db import transaction

from connectors import circuit_breaker
from connectors.errors import ConnectorError, Kind
from connectors.lease import Lease
from connectors.models import ErpConnection
from connectors.port import Delivery, Destination, Evidence, Session
from exports import lifecycle
from exports.delivery import bulkhead, outcomes
from exports.lifecycle import Event
from exports.models import ErpExport
from kernel.db import db_now, retried
from kernel.failpoints import failpoint
from kernel.logs import log_context

BATCH_FILES = 64
BATCH_BYTES = 4 * 1024 * 1024
RUN_SECONDS = 20


@dataclass(slots=True)
class DeliverySummary:
    """What one run did: `sent` exports, errors by code; `is_busy`: its turn is later."""

    sent: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    is_busy: bool = False


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An export with its file, and the final name that the ERP will find it under."""

    export: ErpExport
    file: Delivery
    final_path: str

    @property
    def is_staged_apart(self) -> bool:
        """Whether the file is written under a name of its own; not without `atomic_write`."""
        return self.file.staged_path != self.final_path


_Failure = tuple[_Attempt, ConnectorError]


def deliver(connection_id: UUID) -> DeliverySummary:
    """Send what is due on a connection, for a bounded time. Raises only django.db.Error."""
    summary = DeliverySummary()
    # This delivery was enqueued; what comes from now on enqueues the next one.
    ErpConnection.objects.filter(id=connection_id).update(enqueued_at=None)
    lease = bulkhead.acquire(connection_id)
    if lease is None:
        summary.is_busy = True
        return summary
    try:
        connection = ErpConnection.objects.get(id=connection_id)
        with log_context(connection_id=connection.id, org_id=connection.org_id):
            _LeasedDelivery(connection, lease, summary).deliver_batches()
    finally:
        lease.release()
    return summary


class _LeasedDelivery:
    """One worker delivering on one connection, under its lease."""

    def __init__(self, connection: ErpConnection, lease: Lease, summary: DeliverySummary) -> None:
        self._connection = connection
        self._lease = lease
        self._summary = summary
        self._opened = connection.config_encrypted
        # What comes later has enqueued its own delivery: one by one would cost many times as much.
        self._began = db_now()
        self._batch: list[ErpExport] = []
        self._is_reached = False

    def deliver_batches(self) -> None:
        """Open a session, and deliver batch by batch while there is something due and time."""
        if not (self._may_deliver() and self._read_batch()):
            return
        ends = time.monotonic() + RUN_SECONDS
        with (
            self._failure_noted_on_connection(),
            bulkhead.open_session(self._connection) as session,
        ):
            self._is_reached = True
            while self._deliver_batch(session) and time.monotonic() < ends:
                if not (self._may_go_on() and self._read_batch()):
                    return

    def _deliver_batch(self, session: Session) -> bool:
        """Take the batch through the steps; False if the connection needs a rest or a person."""
        here = session.destination()
        resumed = self._resume(session)
        is_healthy = self._record(self._publish(session, resumed, is_resumed=True))
        if is_healthy:
            staged, failed = self._stage(session, here)
            claimed = self._claim(session, staged, here)
            is_healthy = self._note_failures(failed, "stage")
            published = self._publish(session, claimed, is_resumed=False)
            is_healthy = self._record(published) and is_healthy
        if is_healthy:
            circuit_breaker.record_success(self._connection.id)
            self._connection.failures = 0
        return is_healthy

    @contextmanager
    def _failure_noted_on_connection(self) -> Iterator[None]:
        """Let the connection and the batch show that the dropzone was not reached, or lost."""
        try:
            yield
        except ConnectorError as e:
            self._note_connection_failure(e)
        except bulkhead.TooSlow:
            # Nothing was tried yet, so nothing failed.
            return
        except DatabaseFailure:
            raise
        except SystemExit as e:
            # The queue's time limit: without a note nobody would know where the time goes.
            self._note_connection_failure(ConnectorError("CONNECT_TIMEOUT"), e)
            raise
        except Exception as e:  # noqa: BLE001  whatever it is, see below
            # A defect of ours: it must neither be tried again every second nor stop the others.
            self._note_connection_failure(ConnectorError("INTERNAL"), e)

    def _may_deliver(self) -> bool:
        connection = self._connection
        is_put_off = connection.retry_at is not None and connection.retry_at > db_now()
        return not connection.is_paused and not is_put_off

    def _may_go_on(self) -> bool:
        """Whether another batch may be delivered in this session."""
        if not self._lease.renew():
            return False
        self._connection.refresh_from_db()
        return self._may_deliver() and self._is_as_opened(self._connection)

    def _is_as_opened(self, connection: ErpConnection) -> bool:
        """Whether the configuration is still the one that the session was opened with."""
        return connection.config_encrypted.is_same(self._opened)

    def _read_batch(self) -> bool:
        """Step 1: load the oldest due exports, within the bounds of a batch; False if none is due.

        After a failure one goes ahead: the least tried, for the failure may be its own.
        """
        due = ErpExport.objects.filter(
            status=ErpExport.Status.PENDING,
            erp_connection=self._connection,
            next_attempt_at__lte=self._began,
        )
        is_probe = self._connection.failures > 0
        order = ["attempts", "created_at", "id"] if is_probe else ["created_at", "id"]
        chosen: list[UUID] = []
        size = 0
        sizes = due.order_by(*order).values_list("id", "payload_size")
        for key, payload_size in sizes[: 1 if is_probe else BATCH_FILES]:
            size += payload_size
            if chosen and size > BATCH_BYTES:
                break
            chosen.append(key)
        self._batch = list(due.filter(id__in=chosen).order_by(*order))
        return bool(self._batch)

    def _resume(self, session: Session) -> list[_Attempt]:
        """Take up what earlier attempts have staged and claimed: it goes to step 4."""
        staged = [export for export in self._batch if export.staged_path is not None]
        resumed = lifecycle.apply(Event.RESUMED, [export.id for export in staged])
        return [
            _attempt(session, export, export.staged_path or "", self._staged_in(export))
            for export in staged
            if export.id in resumed
        ]

    def _staged_in(self, export: ErpExport) -> Destination | None:
        """Where an export was staged; None if its staged file may be gone for another reason.

        Its folder was missing since, and perhaps made anew, or a person has begun to resolve it.
        """
        if export.resolving_since:
            return None
        missing_at = self._connection.folder_missing_at
        was_missing = missing_at and export.staged_at and missing_at >= export.staged_at
        return None if was_missing else export.staged_in

    def _stage(self, session: Session, here: Destination) -> tuple[list[_Attempt], list[_Failure]]:
        """Step 2: write the new files under names of this attempt; return the whole, the failed."""
        suffix = uuid.uuid4().hex[:8]
        attempts = [
            _attempt(session, export, session.staging_path(export.filename, suffix), here)
            for export in self._batch
            if export.staged_path is None
        ]
        # Noted before the files exist: whatever happens, the clean-up knows their names.
        noted = lifecycle.apply(
            Event.STAGING,
            [a.export.id for a in attempts],
            details={
                a.export.id: {"tmp": a.file.staged_path} for a in attempts if a.is_staged_apart
            },
        )
        failpoint("noted")
        attempts = [a for a in attempts if a.export.id in noted]
        if not attempts:
            return [], []
        errors = session.stage([a.file for a in attempts])
        failpoint("staged")
        results = list(zip(attempts, errors, strict=True))
        return [a for a, e in results if e is None], [(a, e) for a, e in results if e]

    def _claim(
        self, session: Session, staged: Sequence[_Attempt], here: Destination
    ) -> list[_Attempt]:
        """Step 3: let the database decide which staged files become visible; remove the others."""
        if not staged:
            return []
        claimed = self._record_claims(staged, here)
        failpoint("claimed")
        # Another attempt has the claim, so these files are not needed. If the database's answer is
        # unknown, an exception passes by here: removing them then would lose orders.
        lost = [a for a in staged if a.export.id not in claimed and a.is_staged_apart]
        session.discard([a.file.staged_path for a in lost])
        return [a for a in staged if a.export.id in claimed]

    @retried
    def _record_claims(self, staged: Sequence[_Attempt], here: Destination) -> set[UUID]:
        """From now on these staged files, and no others, are the exports; return whose are."""
        with transaction.atomic():
            connection = ErpConnection.objects.select_for_update(no_key=True).get(
                id=self._connection.id
            )
            if connection.is_paused or not self._is_as_opened(connection):
                # Staged in vain: somebody said stop, or it may be another dropzone by now.
                return set()
            return lifecycle.apply(
                Event.CLAIMED,
                [a.export.id for a in staged],
                details={a.export.id: {"path": a.file.staged_path} for a in staged},
                each={a.export.id: {"staged_path": a.file.staged_path} for a in staged},
                destination=here.as_json(),
            )

    def _publish(
        self, session: Session, claimed: Sequence[_Attempt], *, is_resumed: bool
    ) -> list[tuple[_Attempt, Evidence | ConnectorError]]:
        """Step 4: rename the claimed files to their final names; return what came of each."""
        if not claimed:
            return []
        results = session.publish([a.file for a in claimed], is_resumed=is_resumed)
        failpoint("published")
        return list(zip(claimed, results, strict=True))

    def _record(self, published: Sequence[tuple[_Attempt, Evidence | ConnectorError]]) -> bool:
        """Step 5: note what is sent, and what failed; False if that concerns the connection."""
        if not published:
            return True
        sent: dict[Evidence, list[_Attempt]] = defaultdict(list)
        failed: list[_Failure] = []
        for attempt, result in published:
            if isinstance(result, Evidence):
                sent[result].append(attempt)
            else:
                failed.append((attempt, result))
        for evidence, attempts in sent.items():
            self._summary.sent += outcomes.mark_sent(
                [a.export for a in attempts],
                evidence,
                {a.export.id: a.final_path for a in attempts},
                ack_deadline=self._connection.ack_deadline,
            )
        failpoint("recorded")
        return self._note_failures(failed, "publish")

    def _note_failures(self, failed: Sequence[_Failure], stage: str) -> bool:
        """Note each export's own error; False if one of them concerns the whole connection."""
        is_healthy = True
        for attempt, error in failed:
            self._summary.errors[error.code] += 1
            if error.code == "FOLDER_CHANGED":
                circuit_breaker.note_missing_folder(self._connection.id)
            if error.kind in (Kind.DESTINATION, Kind.REACH):
                if is_healthy:
                    circuit_breaker.record_failure(self._connection, error)
                is_healthy = False
            outcomes.note_failure(attempt.export, error, stage=stage)
        return is_healthy

    def _note_connection_failure(
        self, error: ConnectorError, cause: BaseException | None = None
    ) -> None:
        if cause:
            error.__cause__, error.detail = cause, type(cause).__name__
        self._summary.errors[error.code] += 1
        circuit_breaker.record_failure(self._connection, error)
        outcomes.note_connection_failure(self._batch, error, is_reached=self._is_reached)


def _attempt(
    session: Session, export: ErpExport, path: str, staged_in: Destination | None
) -> _Attempt:
    assert export.payload is not None
    file = Delivery(
        filename=export.filename,
        content=bytes(export.payload),
        staged_path=path,
        staged_in=staged_in,
    )
    return _Attempt(export, file, session.final_path(export.filename))
