"""Delivery: each export becomes visible to the ERP exactly once, through any crash.

No transaction spans the database and the dropzone. The staged file is a token that can be used
once: the database elects exactly one staged file of an export, and the rename that makes it
visible consumes it. From the election on an export only rolls forward. docs/delivery.md has the
protocol with its reasons; the names of the steps here are those there.
"""

import logging
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
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
from exports.lifecycle import Event, ids_of
from exports.models import ErpExport
from kernel.db import db_now, retried
from kernel.failpoints import failpoint
from kernel.logs import about

logger = logging.getLogger(__name__)

BATCH_FILES = 64
BATCH_BYTES = 4 * 1024 * 1024
RUN_SECONDS = 20


@dataclass(slots=True)
class Summary:
    """What one run did: `sent` exports, errors by code; `is_busy`: its turn is later."""

    sent: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    is_busy: bool = False


def deliver(connection_id: UUID) -> Summary:
    """Send what is due on a connection, for a bounded time. Raises only django.db.Error."""
    summary = Summary()
    # The bell has been heard: the next ring is for what comes from now on.
    ErpConnection.objects.filter(id=connection_id).update(rung_at=None)
    held = bulkhead.acquire(connection_id)
    if held is None:
        summary.is_busy = True
        return summary
    try:
        _Run(held, summary).run()
    finally:
        held.release()
    return summary


class _Run:
    """One worker serving one connection under its lease."""

    def __init__(self, held: Lease, summary: Summary) -> None:
        self._lease = held
        self._summary = summary
        self._connection = ErpConnection.objects.get(id=held.connection_id)
        self._opened = self._connection.config_encrypted
        # What comes later has rung for itself: one by one it would cost many times as much.
        self._began = db_now()
        self._batch: list[ErpExport] = []
        self._is_reached = False

    def run(self) -> None:
        with about(connection_id=self._connection.id, org_id=self._connection.org_id):
            if self._may_deliver() and self._take_batch():
                self._serve()

    def _serve(self) -> None:
        try:
            self._run()
        except ConnectorError as e:
            self._connection_failed(e)
        except bulkhead.TooSlow:
            # Nothing was tried yet, so nothing failed.
            return
        except DatabaseFailure:
            raise
        except SystemExit as e:
            # The queue's time limit: without a note nobody would know where the time goes.
            self._connection_failed(_caused(ConnectorError("CONNECT_TIMEOUT"), e))
            raise
        except Exception as e:  # noqa: BLE001  whatever it is, see below
            # A defect of ours: it must neither be tried again every second nor stop the others.
            self._connection_failed(_caused(ConnectorError("INTERNAL"), e))

    def _run(self) -> None:
        ends = time.monotonic() + RUN_SECONDS
        with bulkhead.open_session(self._connection) as session:
            self._is_reached = True
            while self._batch and self._deliver(session, self._batch) and time.monotonic() < ends:
                if not self._lease.renew():
                    return
                self._connection.refresh_from_db()
                if not self._may_deliver() or not self._is_as_opened(self._connection):
                    return
                self._take_batch()

    def _may_deliver(self) -> bool:
        connection = self._connection
        is_put_off = connection.retry_at is not None and connection.retry_at > db_now()
        return not connection.is_paused and not is_put_off

    def _is_as_opened(self, connection: ErpConnection) -> bool:
        """Whether the configuration is still the one this run's session was opened with."""
        return connection.config_encrypted.is_same(self._opened)

    def _take_batch(self) -> bool:
        """Load the oldest due exports, within the bounds of a batch; False if none is due.

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

    def _deliver(self, session: Session, batch: Sequence[ErpExport]) -> bool:
        """Bring a batch forward; False if the connection needs a rest or a person."""
        here = session.destination()
        staged = [export for export in batch if export.staged_path is not None]
        unstaged = [export for export in batch if export.staged_path is None]
        is_healthy = self._resume(session, staged)
        is_healthy = is_healthy and self._send(session, unstaged, here)
        if is_healthy:
            circuit_breaker.record_success(self._connection.id)
            self._connection.failures = 0
        return is_healthy

    def _resume(self, session: Session, exports: Sequence[ErpExport]) -> bool:
        """Step 4 for exports that an earlier attempt has staged."""
        counted = lifecycle.apply(Event.RESUMED, [e.id for e in exports])
        exports = [e for e in exports if e.id in counted]
        deliveries = [_delivery(e, e.staged_path or "", self._staged_in(e)) for e in exports]
        results = session.publish(deliveries, is_resumed=True) if deliveries else []
        return self._record(session, exports, results)

    def _staged_in(self, export: ErpExport) -> Destination | None:
        """Where an export was staged; None if its staged file may be gone for another reason.

        A folder was missing since, and perhaps made anew, or a person has begun to settle it.
        """
        if export.settling_since:
            return None
        missing_at = self._connection.folder_missing_at
        was_missing = missing_at and export.staged_at and missing_at >= export.staged_at
        return None if was_missing else export.staged_in

    def _send(self, session: Session, exports: Sequence[ErpExport], here: Destination) -> bool:
        """Steps 2 to 5 for exports of which nothing is staged."""
        attempt = uuid.uuid4().hex[:8]
        paths = {e.id: session.staging_path(e.filename, attempt) for e in exports}
        # Noted before it exists: whatever happens, the janitor knows the name.
        noted = lifecycle.apply(
            Event.STAGING,
            list(paths),
            details={
                e.id: {"tmp": paths[e.id]}
                for e in exports
                if paths[e.id] != session.final_path(e.filename)
            },
        )
        exports = [e for e in exports if e.id in noted]
        failpoint("noted")
        if not exports:
            return True
        failures = session.stage([_delivery(e, paths[e.id], here) for e in exports])
        failpoint("staged")
        refused = {e.id: f for e, f in zip(exports, failures, strict=True) if f}
        whole = [e for e in exports if e.id not in refused]
        elected = self._elect([e.id for e in whole], paths, here)
        failpoint("elected")
        # Another attempt was elected, so these files are not needed. If the answer of the election
        # is unknown, an exception passes by here: removing them then would lose orders.
        session.discard(
            [
                paths[e.id]
                for e in whole
                if e.id not in elected and paths[e.id] != session.final_path(e.filename)
            ]
        )
        winners = [e for e in whole if e.id in elected]
        is_healthy = self._fail([(e, refused[e.id]) for e in exports if e.id in refused], "stage")
        if not winners:
            return is_healthy
        deliveries = [_delivery(e, paths[e.id], here) for e in winners]
        results = session.publish(deliveries, is_resumed=False)
        failpoint("published")
        return self._record(session, winners, results) and is_healthy

    @retried
    def _elect(
        self, ids: Sequence[UUID], paths: Mapping[UUID, str], here: Destination
    ) -> set[UUID]:
        """Step 3: from now on these staged files, and no others, are the exports."""
        with transaction.atomic():
            connection = ErpConnection.objects.select_for_update(no_key=True).get(
                id=self._connection.id
            )
            if connection.is_paused or not self._is_as_opened(connection):
                # Staged in vain: somebody said stop, or it may be another dropzone by now.
                return set()
            return lifecycle.apply(
                Event.CLAIMED,
                ids,
                details={key: {"path": paths[key]} for key in ids},
                each={key: {"staged_path": paths[key]} for key in ids},
                destination=here.as_json(),
            )

    def _record(
        self,
        session: Session,
        exports: Sequence[ErpExport],
        results: Sequence[Evidence | ConnectorError],
    ) -> bool:
        """Step 5: what was published is sent."""
        by_evidence: dict[Evidence, list[ErpExport]] = defaultdict(list)
        failed: list[tuple[ErpExport, ConnectorError]] = []
        for export, result in zip(exports, results, strict=True):
            if isinstance(result, Evidence):
                by_evidence[result].append(export)
            else:
                failed.append((export, result))
        for evidence, published in by_evidence.items():
            paths = {e.id: session.final_path(e.filename) for e in published}
            deadline = self._connection.ack_deadline
            self._summary.sent += outcomes.mark_sent(
                published, evidence, paths, ack_deadline=deadline
            )
        failpoint("recorded")
        return self._fail(failed, "publish")

    def _fail(self, failed: Sequence[tuple[ErpExport, ConnectorError]], stage: str) -> bool:
        """Note each export's own error; False if one of them concerns the whole connection."""
        is_healthy = True
        for export, error in failed:
            self._summary.errors[error.code] += 1
            logger.warning(
                "export %s: %s: %s",
                export.id,
                stage,
                error.log_line,
                exc_info=error,
                extra=ids_of(export),
            )
            if error.code == "FOLDER_CHANGED":
                circuit_breaker.note_missing_folder(self._connection.id)
            if error.kind in (Kind.DESTINATION, Kind.REACH):
                if is_healthy:
                    circuit_breaker.record_failure(self._connection, error)
                is_healthy = False
            outcomes.note_failure(export, error, stage=stage)
        return is_healthy

    def _connection_failed(self, error: ConnectorError) -> None:
        """The dropzone was not reached, or lost: the connection and the batch show it."""
        self._summary.errors[error.code] += 1
        circuit_breaker.record_failure(self._connection, error)
        outcomes.note_connection_failure(self._batch, error, is_reached=self._is_reached)


def _caused(error: ConnectorError, cause: BaseException) -> ConnectorError:
    error.__cause__ = cause
    error.detail = type(cause).__name__
    return error


def _delivery(export: ErpExport, path: str, staged_in: Destination | None) -> Delivery:
    assert export.payload is not None
    return Delivery(
        filename=export.filename,
        content=bytes(export.payload),
        staged_path=path,
        staged_in=staged_in,
    )
