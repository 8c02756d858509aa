"""The ack poller: reads what ERPs answer, lets it count once, then moves the file away.

Read, decide, commit, move: a crash in between repeats harmlessly, for what is recorded is only
moved. docs/acks.md has the verdicts and their reasons.
"""

import hashlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple, TypeVar
from uuid import UUID

from django.db import DataError, transaction
from django.db import Error as DatabaseFailure

from connectors import circuit_breaker
from connectors.errors import ConnectorError, Kind
from connectors.models import ErpConnection
from connectors.port import Ack, AckFile, AckMove, Session
from exports.acks import application
from exports.acks.classification import judge
from exports.delivery import bulkhead, pickup
from exports.delivery.dispatch import ring_after_commit
from exports.events import announce_conflicts, announce_overdue
from exports.lifecycle import lock_exports
from exports.models import ErpAck, ErpExport, ErpExportEvent
from kernel.db import Now, db_now, retried
from kernel.failpoints import failpoint
from kernel.logs import about

logger = logging.getLogger(__name__)

Verdict = ErpAck.Verdict
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

RUN_SECONDS = 20
BATCH_FILES = 256
BATCH_BYTES = 4 * 1024 * 1024
_LISTED_AT_ONCE = 1024
# Those that match nothing are of no use until a person looks at them.
_UNMATCHED_AT_ONCE = 200
# So many files that are named almost like an answer wait for a person at each connection.
NEAR_MISSES_KEPT = 500
# A file that does not parse is taken for complete when it has not grown for so long.
_SETTLED_AFTER = timedelta(seconds=10)
_BUSY = timedelta(seconds=5)


@dataclass(slots=True)
class Summary:
    """What one poll did: answers by verdict, files `moved`, errors by code.

    `near_misses`: files that are named almost like an answer; `foreign`: those that are none of
    this connection's. `is_busy`: its turn is later.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    moved: int = 0
    near_misses: int = 0
    foreign: int = 0
    picked_up: int = 0
    is_busy: bool = False


class _Found(NamedTuple):
    file: AckFile
    export_id: UUID
    content: bytes


def poll(connection_id: UUID) -> Summary:
    """Read the answers on a connection, for a bounded time. Raises only django.db.Error."""
    summary = Summary()
    # The bell has been heard.
    ErpConnection.objects.filter(id=connection_id).update(poll_rung_at=None)
    held = bulkhead.acquire(connection_id)
    if held is None:
        summary.is_busy = True
        ErpConnection.objects.filter(id=connection_id).update(poll_due_at=db_now() + _BUSY)
        return summary
    try:
        connection = ErpConnection.objects.select_related("org").get(id=connection_id)
        with about(connection_id=connection.id, org_id=connection.org_id):
            if circuit_breaker.may_read(connection):
                _Poll(connection, held.renew, summary).run()
    finally:
        held.release()
    return summary


def match(connection: ErpConnection, files: Sequence[AckFile]) -> dict[str, UUID]:
    """The exports of a connection that files answer, by the names of the files."""
    subjects = {file.name: file.subject for file in files if file.subject}
    exports = {
        filename: (key, order_id)
        for key, filename, order_id in connection.exports.filter(
            filename__in={subject.export_filename for subject in subjects.values()}
        ).values_list("id", "filename", "draft_order_id")
    }
    matched = {}
    for name, subject in subjects.items():
        key, order_id = exports.get(subject.export_filename, (None, None))
        if key and subject.order_id in (None, order_id):
            matched[name] = key
    return matched


def record_moved(connection: ErpConnection, file: AckFile, export_id: UUID, content: bytes) -> None:
    """Let an answer count that was moved away already, as if it was read now."""
    poll = _Poll(connection, lambda: True, Summary())
    moves = poll._record([_Found(file, export_id, content)])
    ErpAck.objects.filter(id__in=[move.receipt for move in moves]).update(moved_at=Now())


class _Poll:
    """One worker reading the answers on one connection, under its lease."""

    def __init__(
        self, connection: ErpConnection, renew: Callable[[], bool], summary: Summary
    ) -> None:
        self._connection = connection
        self._renew = renew
        self._summary = summary
        # For reading and deciding. The listing goes to its end, however much lies there that is
        # none of ours, or what comes last would never be read.
        self._seconds_left: float = RUN_SECONDS
        self._error: ConnectorError | None = None
        self._is_complete = True

    def run(self) -> None:
        connection = self._connection
        began = db_now()
        try:
            reads_acks = connection.connector.reads_acks(connection.parse_config())
            if reads_acks or pickup.outstanding(connection).exists():
                with bulkhead.open_session(connection) as session:
                    is_delivering = connection.exports.filter(status="PENDING").exists()
                    circuit_breaker.record_poll(connection.id, is_delivering=is_delivering)
                    self._go(session)
        except bulkhead.TooSlow:
            return
        except ConnectorError as e:
            self._summary.errors[e.code] += 1
            circuit_breaker.record_failure(connection, e)
            return
        is_all_read = reads_acks and self._is_complete
        with transaction.atomic():
            row = ErpConnection.objects.select_for_update(no_key=True).get(id=connection.id)
            ErpConnection.objects.filter(id=connection.id).update(
                ack_error=self._error and {**self._error.as_json(), "at": db_now().isoformat()},
                **({"last_poll_at": began} if is_all_read else {}),
                **({} if self._is_complete or self._error else {"poll_due_at": Now()}),
            )
            if is_all_read:
                announce_overdue(row, began)

    def _go(self, session: Session) -> None:
        """What goes wrong from here on concerns the answers alone: no delivery is held up by it."""
        try:
            self._read(session)
            self._summary.picked_up = pickup.detect(self._connection, session)
        except ConnectorError as e:
            self._is_complete = False
            self._note_error(e)
        except (DatabaseFailure, SystemExit):
            # The queue's time limit, or no database to note anything in.
            raise
        except Exception as e:  # noqa: BLE001  a defect of ours, which must not stay unseen
            error = ConnectorError("INTERNAL", detail=type(e).__name__)
            error.__cause__ = e
            self._is_complete = False
            self._note_error(error)

    def _read(self, session: Session) -> None:
        strangers: list[AckFile] = []
        for files in _chunks(session.list_acks(), _LISTED_AT_ONCE):
            if not self._renew():
                self._is_complete = False
                return
            known = [file for file in files if file.subject or file.intended]
            self._summary.foreign += len(files) - len(known)
            known = self._move_settled(session, known)
            ours = match(self._connection, known)
            strangers += [file for file in known if file.name not in ours]
            for batch in _batches([(f, ours[f.name]) for f in known if f.name in ours]):
                if self._seconds_left <= 0:
                    self._is_complete = False
                    return
                began = time.monotonic()
                self._settle(session, batch)
                self._seconds_left -= time.monotonic() - began
        self._note_unmatched(session, strangers)

    def _move_settled(self, session: Session, files: Sequence[AckFile]) -> list[AckFile]:
        """Move what only was not moved when it was recorded; return the other files.

        It is not read again: where nothing can be moved, more of it lies there from day to day.
        """
        unmoved = self._connection.acks.filter(
            filename__in=[file.name for file in files], moved_at=None
        )
        recorded = {(ack.filename, ack.size, ack.modified_at): ack for ack in unmoved.defer("raw")}
        moves, others = [], []
        for file in files:
            ack = recorded.get((file.name, file.size, file.modified_at))
            if ack and ack.is_settled and file.modified_at is not None:
                moves.append(_away(file, ack))
            else:
                others.append(file)
        if not (self._error and self._error.code == "ACK_MOVE_FAILED"):
            # Else it was tried in this poll, with the first of them.
            self._move(session, moves)
        return others

    def _settle(self, session: Session, batch: Sequence[tuple[AckFile, UUID]]) -> None:
        contents = session.read_acks([file for file, _ in batch])
        failpoint("ack_read")
        found = []
        for (file, export_id), content in zip(batch, contents, strict=True):
            if isinstance(content, ConnectorError):
                self._is_complete = False
                self._note_error(content)
            elif content is not None:
                found.append(_Found(file, export_id, content))
        self._move(session, self._record(found))

    def _record(self, found: Sequence[_Found]) -> list[AckMove]:
        """Decide and commit; return what is to be moved. One bad answer fails no other."""
        try:
            moves = self._decide(found)
        except DataError as e:
            if len(found) > 1:
                return [move for one in found for move in self._record([one])]
            error = ConnectorError("INTERNAL", detail=found[0].file.name)
            error.__cause__ = e
            self._is_complete = False
            self._note_error(error)
            return []
        failpoint("ack_committed")
        return moves

    @retried
    @transaction.atomic
    def _decide(self, found: Sequence[_Found]) -> list[AckMove]:
        # Two pollers take turns, and a push of the same order waits: it then sees the ack.
        exports = lock_exports([one.export_id for one in found])
        live = application.other_live_exports(exports.values())
        now = db_now()
        known = defaultdict(list)
        names = [one.file.name for one in found]
        recorded = self._connection.acks.filter(filename__in=names).order_by("id")
        # A person may be deciding about one of them.
        for row in recorded.select_for_update(of=["self"]):
            known[row.filename].append(row)
        decided: list[ErpAck] = []
        overwritten: list[UUID] = []
        moves: list[AckMove] = []
        for one in found:
            rows = known[one.file.name]
            sha256 = hashlib.sha256(one.content).hexdigest()
            ack = next((row for row in rows if row.sha256 == sha256), None)
            # What is still being written is one answer, not one for each look at it.
            waiting = next((row for row in rows if row.verdict == Verdict.WAITING), None)
            if ack is None or ack.verdict == Verdict.WAITING or _is_another_try(one.file, ack):
                export = exports[one.export_id]
                ack = self._judged(one, ack or waiting, sha256, export, live.get(export.id), now)
                decided.append(ack)
            if waiting and waiting is not ack:
                overwritten.append(waiting.id)
            if ack.is_settled:
                moves.append(_away(one.file, ack))
        ErpAck.objects.filter(id__in=overwritten).delete()
        self._save(decided)
        return moves

    def _judged(
        self,
        one: _Found,
        ack: ErpAck | None,
        sha256: str,
        export: ErpExport,
        replaced_by: ErpExport | None,
        now: datetime,
    ) -> ErpAck:
        """The answer as a row, new or looked at again, with its verdict."""
        connector = self._connection.connector
        answer = connector.read_ack(one.file.name, one.content)
        is_unchanged = (
            ack is not None and ack.sha256 == sha256 and ack.modified_at == one.file.modified_at
        )
        if ack is None:
            ack = ErpAck(org=self._connection.org, erp_connection=self._connection)
        if not is_unchanged:
            ack.filename, ack.sha256, ack.seen_at = one.file.name, sha256, now
            ack.size, ack.modified_at = one.file.size, one.file.modified_at
            ack.raw = connector.ack_text(one.content)
        ack.export = export
        if isinstance(answer, Ack):
            ack.fill(answer)
            ack.verdict, ack.reason = judge(export, answer, replaced_by=replaced_by)
            return ack
        ack.fill(None)
        if answer.is_perhaps_incomplete and not (
            is_unchanged and now - ack.seen_at > _SETTLED_AFTER
        ):
            ack.verdict = Verdict.WAITING
            ack.reason = f"It may still be being written. {answer.message}"
        else:
            ack.verdict, ack.reason = Verdict.MALFORMED, f"{answer.code}: {answer.message}"
        return ack

    def _save(self, decided: Sequence[ErpAck]) -> None:
        again = [ack for ack in decided if not ack._state.adding]
        ErpAck.objects.bulk_update(again, ErpAck.LOOKED_AT_AGAIN)
        ErpAck.objects.bulk_create(ack for ack in decided if ack._state.adding)
        application.apply(
            [ack for ack in decided if ack.verdict == Verdict.APPLIED],
            expected=ErpExport.Status.SENT,
        )
        notable = [a for a in decided if a.verdict in (Verdict.CONFLICT, Verdict.LATE)]
        ErpExportEvent.objects.bulk_create(
            ErpExportEvent(
                export=ack.export,
                kind=ErpExportEvent.Kind.ANSWERED,
                status=ack.export.status,
                detail={"ack": ack.filename, "verdict": ack.verdict, "reason": ack.reason},
            )
            for ack in notable
            if ack.export
        )
        announce_conflicts(
            self._connection.org_id, [a for a in notable if a.verdict == Verdict.CONFLICT]
        )
        if any(a.export and a.export.status == ErpExport.Status.PENDING for a in decided):
            ring_after_commit(self._connection.id)
        self._summary.verdicts.update(ack.verdict for ack in decided)

    def _move(self, session: Session, moves: Sequence[AckMove]) -> None:
        if not moves:
            return
        try:
            failures = session.settle_acks(moves)
        except ConnectorError as e:
            if e.kind is Kind.REACH:
                raise
            # A folder that leads elsewhere: answers count all the same.
            failures = [e] * len(moves)
        failpoint("ack_moved")
        moved = [move.receipt for move, e in zip(moves, failures, strict=True) if e is None]
        ErpAck.objects.filter(id__in=moved).update(moved_at=Now())
        self._summary.moved += len(moved)
        if cause := next((failure for failure in failures if failure), None):
            error = ConnectorError("ACK_MOVE_FAILED", detail=cause.log_line)
            error.__cause__ = cause
            self._note_error(error)

    def _note_unmatched(self, session: Session, files: Sequence[AckFile]) -> None:
        """Record once what answers nothing here. It is left alone: it may be somebody else's."""
        for some in _chunks(files, _LISTED_AT_ONCE):
            meant = {file.name: self._export_filename(file) for file in some}
            others = set(
                ErpExport.objects.filter(filename__in=set(meant.values()))
                .exclude(erp_connection=self._connection)
                .values_list("filename", flat=True)
            )
            own = [file for file in some if meant[file.name] not in others]
            self._summary.foreign += len(some) - len(own)
            self._summary.near_misses += sum(file.subject is None for file in own)
            self._note_own_unmatched(session, own)

    def _export_filename(self, file: AckFile) -> str:
        """The export that a file names, or almost names; empty if that cannot be told."""
        subject = file.subject or self._connection.connector.ack_subject(file.intended or "")
        return subject.export_filename if subject else ""

    def _note_own_unmatched(self, session: Session, files: Sequence[AckFile]) -> None:
        acks = self._connection.acks.filter(filename__in=[file.name for file in files])
        recorded = set(acks.values_list("filename", "size", "modified_at"))
        unread = [f for f in files if (f.name, f.size, f.modified_at) not in recorded]
        near_misses = [file for file in unread if file.subject is None]
        if near_misses:
            # A folder full of them, which may be of another program, must not fill the table.
            kept = self._connection.acks.filter(ErpAck.OPEN, verdict=Verdict.UNMATCHED).count()
            near_misses = near_misses[: max(0, NEAR_MISSES_KEPT - kept)]
            unread = [*(file for file in unread if file.subject), *near_misses]
        room = max(0, _UNMATCHED_AT_ONCE - self._summary.verdicts[Verdict.UNMATCHED])
        for batch in _batches([(file, file.name) for file in unread[:room]]):
            contents = session.read_acks([file for file, _ in batch])
            for (file, _), content in zip(batch, contents, strict=True):
                if isinstance(content, bytes):
                    self._add_unmatched(file, content)
                elif content is not None:
                    self._note_error(content)

    def _add_unmatched(self, file: AckFile, content: bytes) -> None:
        connector = self._connection.connector
        answer = connector.read_ack(file.intended or file.name, content)
        ack = ErpAck(
            org=self._connection.org,
            erp_connection=self._connection,
            filename=file.name,
            sha256=hashlib.sha256(content).hexdigest(),
            size=file.size,
            modified_at=file.modified_at,
            raw=connector.ack_text(content),
            verdict=Verdict.UNMATCHED,
            reason=_why_unmatched(file),
        )
        if isinstance(answer, Ack):
            ack.fill(answer)
        # One that was touched since is the same answer, to be moved as it is now.
        ErpAck.objects.bulk_create(
            [ack],
            update_conflicts=True,
            unique_fields=["erp_connection", "filename", "sha256"],
            update_fields=["size", "modified_at"],
        )
        self._summary.verdicts[Verdict.UNMATCHED] += 1

    def _note_error(self, error: ConnectorError) -> None:
        """Keep the first error for people; each is in the log."""
        self._error = self._error or error
        self._summary.errors[error.code] += 1
        logger.warning(
            "acks of connection %s: %s", self._connection.id, error.log_line, exc_info=error
        )


def _is_another_try(file: AckFile, ack: ErpAck) -> bool:
    """Whether a malformed file is there anew: it may be one that is still being written."""
    is_open = ack.verdict == Verdict.MALFORMED and ack.decided_at is None
    return is_open and ack.modified_at != file.modified_at


def _why_unmatched(file: AckFile) -> str:
    if file.intended is None:
        return "No export of this connection has this name."
    expected = file.intended
    if expected == file.name:
        expected = "ack_ or error_ and the name of the order's file"
    return (
        f"The name is not that of an ack. Expected: {expected}. Assign the file to its export, and "
        "ask the ERP team to correct the name."
    )


def _away(file: AckFile, ack: ErpAck) -> AckMove:
    is_malformed = ack.verdict == Verdict.MALFORMED
    return AckMove(file=file, is_malformed=is_malformed, receipt=ack.id)


def _batches(files: Iterable[tuple[AckFile, K]]) -> Iterator[list[tuple[AckFile, K]]]:
    """Batches within bounds, with one answer at most to each subject: order matters."""
    batch: list[tuple[AckFile, K]] = []
    answered: set[K] = set()
    size = 0
    for file, subject in sorted(files, key=lambda pair: (pair[0].modified_at or 0, pair[0].name)):
        size += min(file.size or 0, BATCH_BYTES)
        is_full = len(batch) == BATCH_FILES or size > BATCH_BYTES
        if batch and (is_full or subject in answered):
            yield batch
            batch, answered, size = [], set(), file.size or 0
        batch.append((file, subject))
        answered.add(subject)
    if batch:
        yield batch


def _chunks(items: Iterable[T], count: int) -> Iterator[list[T]]:
    items = iter(items)
    while chunk := list(islice(items, count)):
        yield chunk
