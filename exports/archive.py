"""The archive: a copy of every export in object storage, whatever became of it."""

import logging
import time

from connectors.errors import ConnectorError
from connectors.port import ObjectStorage
from connectors.storage import DjangoObjectStorage
from exports.models import ErpExport
from orderflow.db import Now
from orderflow.failpoints import failpoint

logger = logging.getLogger(__name__)

_RUN_SECONDS = 45


def archive_pending(storage: ObjectStorage | None = None) -> int:
    """Store what is not archived yet, oldest first, for a bounded time; return how many.

    The first failure ends the run: the storage is the same for all, and the next run comes soon.
    """
    storage = storage or DjangoObjectStorage()
    ends = time.monotonic() + _RUN_SECONDS
    count = 0
    unarchived = ErpExport.objects.filter(archived_at=None).order_by("created_at")
    for export in unarchived.iterator(chunk_size=100):
        if time.monotonic() > ends:
            break
        content = export.content
        assert content is not None
        try:
            storage.put(export.export_storage_key, content)
        except ConnectorError as e:
            logger.warning("archive: %s", e.log_line, exc_info=e)
            break
        failpoint("archived")
        count += ErpExport.objects.filter(id=export.id, archived_at=None).update(
            archived_at=Now(), updated_at=Now()
        )
    return count
