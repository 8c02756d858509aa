"""Unmatched acks: files that are named like an ack, or almost, and answer no export here.

Each is recorded once for a person, and its file stays where it is: it may be of another program.
"""

import hashlib
from collections.abc import Sequence

from connectors.models import ErpConnection
from connectors.port import Ack, AckFile
from exports.messages import Reason
from exports.models import ErpAck, ErpExport

# They are of no use until a person looks at them, so a poll records no more than this.
RECORDED_AT_ONCE = 200
# So many files that are named almost like an ack wait for a person at each connection.
NEAR_MISSES_KEPT = 500


def without_foreign(connection: ErpConnection, files: Sequence[AckFile]) -> list[AckFile]:
    """The files among some that do not belong to an export of another connection."""
    named = {file.name: _export_filename(connection, file) for file in files}
    foreign = set(
        ErpExport.objects.filter(filename__in=set(named.values()))
        .exclude(erp_connection=connection)
        .values_list("filename", flat=True)
    )
    return [file for file in files if named[file.name] not in foreign]


def _export_filename(connection: ErpConnection, file: AckFile) -> str:
    """The export that a file names, or almost names; empty if that cannot be told."""
    subject = file.subject or connection.connector.ack_subject(file.intended or "")
    return subject.export_filename if subject else ""


def to_record(
    connection: ErpConnection, files: Sequence[AckFile], *, at_most: int
) -> list[AckFile]:
    """The files among some that are not recorded yet and are to be read, within the bounds."""
    acks = connection.acks.filter(filename__in=[file.name for file in files])
    recorded = set(acks.values_list("filename", "size", "modified_at"))
    unread = [f for f in files if (f.name, f.size, f.modified_at) not in recorded]
    near_misses = [file for file in unread if file.subject is None]
    if near_misses:
        # A folder full of them, which may be of another program, must not fill the table.
        kept = connection.acks.filter(
            ErpAck.OPEN, classification=ErpAck.Classification.UNMATCHED
        ).count()
        near_misses = near_misses[: max(0, NEAR_MISSES_KEPT - kept)]
        unread = [*(file for file in unread if file.subject), *near_misses]
    return unread[: max(0, at_most)]


def record(connection: ErpConnection, file: AckFile, content: bytes) -> None:
    """Record a file for a person, once."""
    connector = connection.connector
    answer = connector.read_ack(file.intended or file.name, content)
    ack = ErpAck(
        org=connection.org,
        erp_connection=connection,
        filename=file.name,
        sha256=hashlib.sha256(content).hexdigest(),
        size=file.size,
        modified_at=file.modified_at,
        raw=connector.ack_text(content),
        classification=ErpAck.Classification.UNMATCHED,
    )
    if file.intended is None:
        ack.explain(Reason.NO_SUCH_EXPORT)
    elif file.intended == file.name:
        ack.explain(Reason.UNKNOWN_NAME)
    else:
        ack.explain(Reason.WRONG_NAME, expected=file.intended)
    if isinstance(answer, Ack):
        ack.fill(answer)
    # One that was touched since is the same ack, to be moved as it is now.
    ErpAck.objects.bulk_create(
        [ack],
        update_conflicts=True,
        unique_fields=["erp_connection", "filename", "sha256"],
        update_fields=["size", "modified_at"],
    )
