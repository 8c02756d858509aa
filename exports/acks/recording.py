"""Ack recording: what acks mean is decided and committed in one transaction.

To record an ack again is harmless: its file is recognised by its name and hash. docs/acks.md has
the classifications and their reasons.
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import DataError, transaction

from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from connectors.port import Ack, AckFile
from exports import lifecycle
from exports.acks import application
from exports.acks.classification import classify
from exports.delivery.dispatch import wake_after_commit
from exports.events import publish_conflict_events
from exports.lifecycle import Event, lock_exports
from exports.messages import Reason
from exports.models import ErpAck, ErpExport
from kernel.db import Now, db_now, retried

logger = logging.getLogger(__name__)

Classification = ErpAck.Classification

# A file that does not parse is taken for complete when it has not changed for so long.
_STABLE_AFTER = timedelta(seconds=10)


class ReadAck(NamedTuple):
    """An ack file that was read, and the export that its name names."""

    file: AckFile
    export_id: UUID
    content: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of some acks: `acks` were decided now; an error is that of one file alone.

    `movable`: the files that nothing more is expected of, with the acks that record them.
    """

    acks: list[ErpAck] = field(default_factory=list)
    movable: list[tuple[AckFile, ErpAck]] = field(default_factory=list)
    errors: list[ConnectorError] = field(default_factory=list)


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


def record(connection: ErpConnection, read: Sequence[ReadAck]) -> Recorded:
    """Decide and commit; one ack to an export at most. One bad ack fails no other."""
    try:
        return _record_in_one_transaction(connection, read)
    except DataError as e:
        if len(read) == 1:
            error = ConnectorError("INTERNAL", detail=read[0].file.name)
            error.__cause__ = e
            return Recorded(errors=[error])
    recorded = Recorded()
    for one in read:
        alone = record(connection, [one])
        recorded.acks.extend(alone.acks)
        recorded.movable.extend(alone.movable)
        recorded.errors.extend(alone.errors)
    return recorded


def record_moved(connection: ErpConnection, read: ReadAck) -> None:
    """Let an ack count whose file was moved away already, as if it was read now."""
    recorded = record(connection, [read])
    for error in recorded.errors:
        logger.warning("acks of connection %s: %s", connection.id, error.log_line, exc_info=error)
    moved = [ack.id for _, ack in recorded.movable]
    ErpAck.objects.filter(id__in=moved).update(moved_at=Now())


@retried
@transaction.atomic
def _record_in_one_transaction(connection: ErpConnection, read: Sequence[ReadAck]) -> Recorded:
    """Classify acks, save them, and apply those that count."""
    # Two pollers take turns, and a push of the same order waits: it then sees the ack.
    exports = lock_exports([one.export_id for one in read])
    live = application.other_live_exports(exports.values())
    now = db_now()
    known = defaultdict(list)
    names = [one.file.name for one in read]
    rows = connection.acks.filter(filename__in=names).order_by("id")
    # A person may be deciding about one of them.
    for row in rows.select_for_update(of=["self"]):
        known[row.filename].append(row)
    recorded = Recorded()
    overwritten: list[UUID] = []
    for one in read:
        same_name = known[one.file.name]
        ack = next((row for row in same_name if row.sha256 == one.sha256), None)
        # What is still being written is one ack, not one for each look at it.
        waiting = next(
            (row for row in same_name if row.classification == Classification.WAITING), None
        )
        if (
            ack is None
            or ack.classification == Classification.WAITING
            or _is_another_try(one.file, ack)
        ):
            export = exports[one.export_id]
            replaced_by = live.get(export.id)
            ack = _classified(
                connection, one, ack or waiting, export=export, replaced_by=replaced_by, now=now
            )
            recorded.acks.append(ack)
        if waiting and waiting is not ack:
            overwritten.append(waiting.id)
        if ack.is_movable:
            recorded.movable.append((one.file, ack))
    ErpAck.objects.filter(id__in=overwritten).delete()
    _save(recorded.acks)
    application.apply(
        [ack for ack in recorded.acks if ack.classification == Classification.APPLIED]
    )
    _note_contradictions(connection, recorded.acks)
    if any(ack.export and ack.export.status == ErpExport.Status.PENDING for ack in recorded.acks):
        wake_after_commit(connection.id)
    return recorded


def _is_another_try(file: AckFile, ack: ErpAck) -> bool:
    """Whether a malformed file is there anew: it may be one that is still being written."""
    is_open = ack.classification == Classification.MALFORMED and ack.decided_at is None
    return is_open and ack.modified_at != file.modified_at


def _classified(
    connection: ErpConnection,
    one: ReadAck,
    ack: ErpAck | None,
    *,
    export: ErpExport,
    replaced_by: ErpExport | None,
    now: datetime,
) -> ErpAck:
    """The ack as a row, new or looked at again, with its classification."""
    connector = connection.connector
    answer = connector.read_ack(one.file.name, one.content)
    sha256 = one.sha256
    is_unchanged = (
        ack is not None and ack.sha256 == sha256 and ack.modified_at == one.file.modified_at
    )
    if ack is None:
        ack = ErpAck(org=connection.org, erp_connection=connection)
    if not is_unchanged:
        ack.filename, ack.sha256, ack.seen_at = one.file.name, sha256, now
        ack.size, ack.modified_at = one.file.size, one.file.modified_at
        ack.raw = connector.ack_text(one.content)
    ack.export = export
    if isinstance(answer, Ack):
        ack.fill(answer)
        ack.classification, code, values = classify(export, answer, replaced_by=replaced_by)
        ack.explain(code, **values)
        return ack
    ack.fill(None)
    if answer.is_perhaps_incomplete and not (is_unchanged and now - ack.seen_at > _STABLE_AFTER):
        ack.classification = Classification.WAITING
        ack.explain(Reason.PERHAPS_INCOMPLETE, problem=answer.message)
    else:
        ack.classification = Classification.MALFORMED
        ack.explain(Reason.MALFORMED, code=answer.code, problem=answer.message)
    return ack


def _save(acks: Sequence[ErpAck]) -> None:
    again = [ack for ack in acks if not ack._state.adding]
    ErpAck.objects.bulk_update(again, ErpAck.LOOKED_AT_AGAIN)
    ErpAck.objects.bulk_create(ack for ack in acks if ack._state.adding)


def _note_contradictions(connection: ErpConnection, acks: Sequence[ErpAck]) -> None:
    """Note in the history of exports which acks contradict what counts, or come late."""
    notable = [
        ack for ack in acks if ack.classification in (Classification.CONFLICT, Classification.LATE)
    ]
    lifecycle.note(
        Event.CONTRADICTED,
        [ack.export for ack in notable if ack.export],
        details={
            ack.export.id: {
                "ack": ack.filename,
                "classification": ack.classification,
                "reason": ack.reason,
            }
            for ack in notable
            if ack.export
        },
    )
    publish_conflict_events(
        connection.org_id, [ack for ack in notable if ack.classification == Classification.CONFLICT]
    )
