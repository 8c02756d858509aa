"""Reconciliation after a restore: what dropzones and archive know and the ledger does not.

The ledger is as old as its backup. What it takes for waiting may have been sent since: then its
file lies in the export folder, or an answer to it in the ack folder or where answers are put away.
Of what left no trace only the ERP knows.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from connectors.port import Ack, AckFile, Evidence, Session
from connectors.storage import DjangoObjectStorage
from exports import lifecycle
from exports.acks import recording
from exports.acks.recording import ReadAck
from exports.delivery.outcomes import mark_sent
from exports.lifecycle import Event
from exports.models import ErpExport
from kernel.batching import batched
from kernel.db import db_now

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 500


@dataclass(slots=True)
class Findings:
    """What of a connection's dropzone the ledger does not say.

    Exports that the ledger takes for waiting: `lying` were sent, for the file lies there;
    `answered` too; under the names of `foreign` lies another file; `untraced` were perhaps sent.
    `put_away`: answers that were moved away and do not count yet, with their exports. `unknown`:
    names of files of exports, or of answers to them, that the ledger does not know.
    """

    lying: list[ErpExport] = field(default_factory=list)
    answered: list[ErpExport] = field(default_factory=list)
    foreign: list[ErpExport] = field(default_factory=list)
    untraced: list[ErpExport] = field(default_factory=list)
    put_away: list[tuple[AckFile, UUID]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def look(connection: ErpConnection, session: Session) -> Findings:
    """Compare what the ledger says with what lies in the dropzone. Raises ConnectorError.

    Nothing is changed. What was staged by the time of the backup is left to the delivery, which
    goes on by what it sees.
    """
    findings = Findings()
    pending = (
        connection.exports.filter(status=ErpExport.Status.PENDING)
        .defer("payload")
        .order_by("created_at", "id")
    )
    waiting = {export.id: export for export in pending}
    answered: set[UUID] = set()
    for files in batched(session.list_acks(), _AT_ONCE):
        found = _uncounted(connection, files, findings)
        answered |= {key for _, key in found}
    for files in batched(session.list_moved_acks(), _AT_ONCE):
        found = _uncounted(connection, files, findings)
        answered |= {key for _, key in found}
        findings.put_away += found
    findings.answered = [e for key, e in waiting.items() if key in answered]
    unstaged = {
        e.filename: e for key, e in waiting.items() if key not in answered and not e.staged_path
    }
    there: set[str] = set()
    for names in batched(session.listing(), _AT_ONCE):
        there |= unstaged.keys() & set(names)
        findings.unknown += _unknown(connection, names)
    for some in batched((e for name, e in unstaged.items() if name in there), _AT_ONCE):
        _compare(session, some, findings)
    findings.untraced = [e for name, e in unstaged.items() if name not in there]
    return findings


def _uncounted(
    connection: ErpConnection, files: Sequence[AckFile], findings: Findings
) -> list[tuple[AckFile, UUID]]:
    """The answers among some files that do not count yet, with the exports that they answer."""
    exports = recording.match(connection, files)
    recorded = set(
        connection.acks.filter(filename__in=[file.name for file in files]).values_list(
            "filename", flat=True
        )
    )
    new = [file for file in files if file.subject and file.name not in recorded]
    findings.unknown += [file.path for file in new if file.name not in exports]
    # An export that has failed counts, too: the ERP may have accepted it late.
    unaccepted = set(
        ErpExport.objects.filter(id__in=exports.values())
        .exclude(status=ErpExport.Status.ACKED)
        .values_list("id", flat=True)
    )
    return [(f, exports[f.name]) for f in new if exports.get(f.name) in unaccepted]


def _unknown(connection: ErpConnection, names: Sequence[str]) -> list[str]:
    """The names of exports that the ledger does not know."""
    connector = connection.connector
    ours = {name for name in names if connector.is_export_filename(name)}
    return sorted(
        ours.difference(
            ErpExport.objects.filter(filename__in=ours).values_list("filename", flat=True)
        )
    )


def _compare(session: Session, exports: Sequence[ErpExport], findings: Findings) -> None:
    """Tell files of ours from others that lie under the same names."""
    limit = max(export.payload_size for export in exports) + 1
    contents = session.read_exports([e.filename for e in exports], limit=limit)
    for export, content in zip(exports, contents, strict=True):
        if isinstance(content, ConnectorError):
            raise content
        # One that has gone since it was listed was taken by the ERP.
        if content is None or hashlib.sha256(content).hexdigest() == export.payload_sha256:
            findings.lying.append(export)
        else:
            findings.foreign.append(export)


def apply(
    connection: ErpConnection, session: Session, findings: Findings, *, sends_untraced: bool
) -> None:
    """Let the ledger say what was found. Raises ConnectorError.

    What left no trace is held until a person decides, unless it is to be sent. May be repeated.
    """
    for exports, evidence in (
        (findings.lying, Evidence.OBSERVED),
        (findings.answered, Evidence.INFERRED),
    ):
        for sent in batched(exports, _AT_ONCE):
            paths = {e.id: session.final_path(e.filename) for e in sent}
            mark_sent(sent, evidence, paths, ack_deadline=connection.ack_deadline)
    # In the order in which the ERP wrote them: the first answer counts.
    put_away = sorted(findings.put_away, key=lambda found: found[0].modified_at or 0)
    for some in batched(put_away, _AT_ONCE):
        contents = session.read_acks([file for file, _ in some])
        for (file, key), content in zip(some, contents, strict=True):
            if isinstance(content, ConnectorError):
                raise content
            # One that was malformed stays so; the file in `error/` tells.
            if content and isinstance(connection.connector.read_ack(file.name, content), Ack):
                recording.record_moved(connection, ReadAck(file, key, content))
    for untraced in batched(findings.untraced, _AT_ONCE):
        ids = [export.id for export in untraced]
        if sends_untraced:
            lifecycle.apply(Event.RELEASED, ids)
        else:
            _hold(ids)


def _hold(ids: Sequence[UUID]) -> None:
    error = ConnectorError("UNTRACED")
    report = {**error.as_json(), "at": db_now().isoformat()}
    held = lifecycle.apply(Event.HELD, ids, details=dict.fromkeys(ids, report), error_json=report)
    logger.warning("reconcile: %s; %d exports held", error.log_line, len(held))


def unknown_documents() -> Iterator[str]:
    """The keys of the archive that the ledger does not know. Raises ConnectorError."""
    for keys in batched(DjangoObjectStorage().keys("exports/"), _AT_ONCE):
        known = ErpExport.objects.filter(export_storage_key__in=keys)
        yield from sorted(set(keys).difference(known.values_list("export_storage_key", flat=True)))
