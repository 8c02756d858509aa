"""The archive: a copy of every export in object storage, whatever became of it."""

import logging
import time

from connectors import instance
from connectors.errors import ConnectorError
from connectors.port import ObjectStorage
from connectors.storage import DjangoObjectStorage
from exports.models import ErpExport
from exports.transitions import ids_of
from orderflow.db import Now
from orderflow.failpoints import failpoint

logger = logging.getLogger(__name__)

_RUN_SECONDS = 45
_AT_ONCE = 5000
_FAILURES_IN_A_ROW = 3


def archive_pending(storage: ObjectStorage | None = None) -> int:
    """Store what is not archived yet, oldest first, for a bounded time; return how many.

    One export that cannot be stored does not hold up the others; several in a row end the run, for
    then it is the storage, and the next run comes soon.
    """
    storage = storage or DjangoObjectStorage()
    ends = time.monotonic() + _RUN_SECONDS
    count = failures = 0
    waiting = ErpExport.objects.filter(instance.is_ours(), archived_at=None).order_by(
        "created_at", "id"
    )
    ids = list(waiting.values_list("id", flat=True)[:_AT_ONCE])
    for export in (ErpExport.objects.get(id=key) for key in ids):
        if time.monotonic() > ends or failures == _FAILURES_IN_A_ROW:
            break
        content = export.content
        if content is None:
            continue
        failpoint("archiving")
        try:
            storage.put(export.export_storage_key, content)
        except ConnectorError as e:
            logger.warning(
                "archive: export %s: %s",
                export.id,
                e.log_line,
                extra=ids_of(export),
            )
            failures += e.code == "ARCHIVE_FAILED"
            continue
        failures = 0
        failpoint("archived")
        count += ErpExport.objects.filter(id=export.id, archived_at=None).update(
            archived_at=Now(), updated_at=Now()
        )
    return count
