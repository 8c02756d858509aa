"""The ack poller: lists and reads the acks of a connection, has them recorded, moves the files.

Read, decide, commit, move: a crash in between repeats harmlessly, because an ack that is recorded
is only moved. An ack goes from here to exports/acks/recording.py, which asks classification.py
what it means, and has application.py apply it, in one transaction.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from django.db import Error as DatabaseFailure
from django.db import transaction

from connectors import circuit_breaker
from connectors.errors import ConnectorError, Kind
from connectors.models import ErpConnection
from connectors.port import AckFile, AckMove, Session
from exports.acks import recording, unmatched
from exports.acks.recording import ReadAck
from exports.delivery import bulkhead, pickup
from exports.events import publish_overdue_events
from exports.models import ErpAck, ErpExport
from kernel.batching import batched
from kernel.db import Now, db_now
from kernel.failpoints import failpoint
from kernel.logs import log_context

logger = logging.getLogger(__name__)

Classification = ErpAck.Classification
K = TypeVar("K", bound=Hashable)

RUN_SECONDS = 20
BATCH_FILES = 256
BATCH_BYTES = 4 * 1024 * 1024
_LISTED_AT_ONCE = 1024
_BUSY = timedelta(seconds=5)


@dataclass(slots=True)
class PollSummary:
    """What one poll did: acks by classification, files `moved`, errors by code.

    `near_misses`: files that are named almost like an ack; `foreign`: those that are none of this
    connection's. `is_busy`: its turn is later.
    """

    classifications: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    moved: int = 0
    near_misses: int = 0
    foreign: int = 0
    picked_up: int = 0
    is_busy: bool = False


def poll(connection_id: UUID) -> PollSummary:
    """Read the acks on a connection, for a bounded time. Raises only django.db.Error."""
    summary = PollSummary()
    # This poll was enqueued; what comes from now on enqueues the next one.
    ErpConnection.objects.filter(id=connection_id).update(poll_enqueued_at=None)
    held = bulkhead.acquire(connection_id)
    if held is None:
        summary.is_busy = True
        ErpConnection.objects.filter(id=connection_id).update(poll_due_at=db_now() + _BUSY)
        return summary
    try:
        connection = ErpConnection.objects.select_related("org").get(id=connection_id)
        with log_context(connection_id=connection.id, org_id=connection.org_id):
            if circuit_breaker.may_read(connection):
                _Poll(connection, held.renew, summary).run()
    finally:
        held.release()
    return summary


class _Poll:
    """One worker reading the acks on one connection, under its lease."""

    def __init__(
        self, connection: ErpConnection, renew: Callable[[], bool], summary: PollSummary
    ) -> None:
        self._connection = connection
        self._renew = renew
        self._summary = summary
        # For reading and deciding. The listing goes to its end, however many files of others are
        # there, or what comes last would never be read.
        self._seconds_left: float = RUN_SECONDS
        self._error: ConnectorError | None = None
        self._is_complete = True

    def run(self) -> None:
        """Read the acks in one session and look for pickups; the connection shows how it went."""
        connection = self._connection
        began = db_now()
        try:
            reads_acks = connection.connector.reads_acks(connection.parse_config())
            if reads_acks or pickup.outstanding(connection).exists():
                with bulkhead.open_session(connection) as session:
                    pending = connection.exports.filter(status=ErpExport.Status.PENDING)
                    circuit_breaker.record_poll(connection.id, is_delivering=pending.exists())
                    with self._error_noted():
                        self._read_folder(session)
                        self._summary.picked_up = pickup.detect(connection, session)
        except bulkhead.TooSlow:
            return
        except ConnectorError as e:
            self._summary.errors[e.code] += 1
            circuit_breaker.record_failure(connection, e)
            return
        self._note_poll(began, is_all_read=reads_acks and self._is_complete)

    def _read_folder(self, session: Session) -> None:
        """List the ack folder to its end; read, record and move what is new."""
        unmatched_files: list[AckFile] = []
        for files in batched(session.list_acks(), _LISTED_AT_ONCE):
            if not self._renew():
                self._is_complete = False
                return
            acks = [file for file in files if file.subject or file.intended]
            self._summary.foreign += len(files) - len(acks)
            acks = self._move_recorded(session, acks)
            matched = recording.match(self._connection, acks)
            unmatched_files += [file for file in acks if file.name not in matched]
            for batch in _batches([(f, matched[f.name]) for f in acks if f.name in matched]):
                if self._seconds_left <= 0:
                    self._is_complete = False
                    return
                began = time.monotonic()
                self._read_batch(session, batch)
                self._seconds_left -= time.monotonic() - began
        self._record_unmatched(session, unmatched_files)

    def _read_batch(self, session: Session, batch: Sequence[tuple[AckFile, UUID]]) -> None:
        """Read some files, have them recorded, then move those that nothing more is expected of."""
        contents = session.read_acks([file for file, _ in batch])
        failpoint("ack_read")
        read = []
        for (file, export_id), content in zip(batch, contents, strict=True):
            if isinstance(content, ConnectorError):
                self._is_complete = False
                self._note_error(content)
            elif content is not None:
                read.append(ReadAck(file, export_id, content))
        recorded = recording.record(self._connection, read)
        failpoint("ack_committed")
        self._summary.classifications.update(ack.classification for ack in recorded.acks)
        for error in recorded.errors:
            self._is_complete = False
            self._note_error(error)
        self._move(session, [_move_of(file, ack) for file, ack in recorded.movable])

    def _record_unmatched(self, session: Session, files: Sequence[AckFile]) -> None:
        """Record files that match no export here, for a person. They are not moved."""
        connection, summary = self._connection, self._summary
        for some in batched(files, _LISTED_AT_ONCE):
            own = unmatched.without_foreign(connection, some)
            summary.foreign += len(some) - len(own)
            summary.near_misses += sum(file.subject is None for file in own)
            room = unmatched.RECORDED_AT_ONCE - summary.classifications[Classification.UNMATCHED]
            unread = unmatched.to_record(connection, own, at_most=room)
            for batch in _batches([(file, file.name) for file in unread]):
                contents = session.read_acks([file for file, _ in batch])
                for (file, _), content in zip(batch, contents, strict=True):
                    if isinstance(content, bytes):
                        unmatched.record(connection, file, content)
                        summary.classifications[Classification.UNMATCHED] += 1
                    elif content is not None:
                        self._note_error(content)

    def _move_recorded(self, session: Session, files: Sequence[AckFile]) -> list[AckFile]:
        """Move files that an earlier poll recorded and could not move; return the other files.

        They are not read again: where nothing can be moved, they become more from day to day.
        """
        unmoved = self._connection.acks.filter(
            filename__in=[file.name for file in files], moved_at=None
        )
        recorded = {(ack.filename, ack.size, ack.modified_at): ack for ack in unmoved.defer("raw")}
        moves, others = [], []
        for file in files:
            ack = recorded.get((file.name, file.size, file.modified_at))
            if ack and ack.is_movable and file.modified_at is not None:
                moves.append(_move_of(file, ack))
            else:
                others.append(file)
        if not (self._error and self._error.code == "ACK_MOVE_FAILED"):
            # Otherwise this poll has already tried, with the first of them.
            self._move(session, moves)
        return others

    def _move(self, session: Session, moves: Sequence[AckMove]) -> None:
        if not moves:
            return
        try:
            failures = session.move_acks(moves)
        except ConnectorError as e:
            if e.kind is Kind.REACH:
                raise
            # The folder leads elsewhere: acks count all the same.
            failures = [e] * len(moves)
        failpoint("ack_moved")
        moved = [move.receipt for move, e in zip(moves, failures, strict=True) if e is None]
        ErpAck.objects.filter(id__in=moved).update(moved_at=Now())
        self._summary.moved += len(moved)
        if cause := next((failure for failure in failures if failure), None):
            error = ConnectorError("ACK_MOVE_FAILED", detail=cause.log_line)
            error.__cause__ = cause
            self._note_error(error)

    @contextmanager
    def _error_noted(self) -> Iterator[None]:
        """Note what goes wrong once the server is reached: it holds up acks, and no delivery."""
        try:
            yield
        except ConnectorError as e:
            self._is_complete = False
            self._note_error(e)
        except DatabaseFailure:
            # There is no database to note anything in.
            raise
        except Exception as e:  # noqa: BLE001  a defect of ours, which must not stay unseen
            error = ConnectorError("INTERNAL", detail=type(e).__name__)
            error.__cause__ = e
            self._is_complete = False
            self._note_error(error)

    def _note_error(self, error: ConnectorError) -> None:
        """Keep the first error for people; each is in the log."""
        self._error = self._error or error
        self._summary.errors[error.code] += 1
        logger.warning(
            "acks of connection %s: %s", self._connection.id, error.log_line, exc_info=error
        )

    def _note_poll(self, began: datetime, *, is_all_read: bool) -> None:
        """Note on the connection what this poll has read, and which acks are overdue by that."""
        rows = ErpConnection.objects.filter(id=self._connection.id)
        with transaction.atomic():
            row = rows.select_for_update(no_key=True).get()
            rows.update(
                ack_error=self._error and {**self._error.as_json(), "at": db_now().isoformat()},
                **({"last_poll_at": began} if is_all_read else {}),
                **({} if self._is_complete or self._error else {"poll_due_at": Now()}),
            )
            if is_all_read:
                publish_overdue_events(row, began)


def _move_of(file: AckFile, ack: ErpAck) -> AckMove:
    is_malformed = ack.classification == Classification.MALFORMED
    return AckMove(file=file, is_malformed=is_malformed, receipt=ack.id)


def _batches(files: Iterable[tuple[AckFile, K]]) -> Iterator[list[tuple[AckFile, K]]]:
    """Batches within bounds, with one ack at most about each subject: order matters."""
    batch: list[tuple[AckFile, K]] = []
    subjects: set[K] = set()
    size = 0
    for file, subject in sorted(files, key=lambda pair: (pair[0].modified_at or 0, pair[0].name)):
        size += min(file.size or 0, BATCH_BYTES)
        is_full = len(batch) == BATCH_FILES or size > BATCH_BYTES
        if batch and (is_full or subject in subjects):
            yield batch
            batch, subjects, size = [], set(), file.size or 0
        batch.append((file, subject))
        subjects.add(subject)
    if batch:
        yield batch
