"""The obvious protocol: write, rename, mark sent, and start again after any error. It is wrong.

After a crash between the rename and the mark it sends the order twice. The chaos run has to detect
this. If it did not, it would prove nothing about exports/delivery/protocol.py.
"""

import uuid
from uuid import UUID

from connectors import circuit_breaker, lease
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from connectors.port import Delivery, Evidence
from exports import lifecycle
from exports.delivery import protocol
from exports.lifecycle import Event
from exports.models import ErpExport
from kernel.db import Now, db_now


def deliver(connection_id: UUID) -> None:
    """Send the due exports of a connection."""
    held = lease.acquire(connection_id)
    if held is None:
        return
    connection = ErpConnection.objects.get(id=connection_id)
    try:
        _send_all(connection)
    except ConnectorError as e:
        circuit_breaker.record_failure(connection, e)
    finally:
        held.release()


def _send_all(connection: ErpConnection) -> None:
    connector = connection.connector
    due = connection.exports.filter(status=ErpExport.Status.PENDING, next_attempt_at__lte=db_now())
    with connector.open(connector.parse_config(connection.config)) as session:
        for export in due.order_by("created_at")[: protocol.BATCH_FILES]:
            tmp = session.staging_path(export.filename, uuid.uuid4().hex[:8])
            file = Delivery(
                filename=export.filename, content=export.content or b"", staged_path=tmp
            )
            if any(session.stage([file])):
                continue
            protocol.failpoint("staged")  # type: ignore[attr-defined]
            (outcome,) = session.publish([file], is_resumed=False)
            protocol.failpoint("published")  # type: ignore[attr-defined]
            if isinstance(outcome, Evidence):
                lifecycle.apply(Event.SENT, [export.id], sent_at=Now(), sent_evidence=outcome)
