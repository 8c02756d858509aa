"""Archiving: each export is copied to object storage; copies are compared with the ledger."""

import hashlib
import logging
import time
from collections.abc import Iterator
from enum import StrEnum

from connectors import ownership
from connectors.errors import ConnectorError
from connectors.port import ObjectStorage
from connectors.storage import DjangoObjectStorage
from exports.lifecycle import ids_of
from exports.models import ErpExport
from kernel.db import Now
from kernel.failpoints import failpoint

logger = logging.getLogger(__name__)

_RUN_SECONDS = 45
_AT_ONCE = 5000
_FAILURES_IN_A_ROW = 3
_LISTED_AT_ONCE = 1000


class Condition(StrEnum):
    """How an object of the archive was found."""

    WHOLE = "whole"
    MISSING = "missing"
    DIFFERENT = "different"


def archive_pending(storage: ObjectStorage | None = None) -> int:
    """Store what is not archived yet, oldest first, for a bounded time; return how many.

    An export counts as archived once its object was read back and has the same bytes. One export
    that cannot be stored does not hold up the others. Several in a row end the run, because then
    it is the storage, and the next run comes soon.
    """
    storage = storage or DjangoObjectStorage()
    ends = time.monotonic() + _RUN_SECONDS
    count = failures = 0
    waiting = ErpExport.objects.filter(ownership.is_ours(), archived_at=None).order_by(
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
            failures += e.code != "ARCHIVE_CONFLICT"
            continue
        failures = 0
        failpoint("archived")
        count += ErpExport.objects.filter(id=export.id, archived_at=None).update(
            archived_at=Now(), updated_at=Now()
        )
    return count


def verify(*, after: str = "") -> Iterator[tuple[str, Condition]]:
    """Read every object that the ledger says is archived; yield its key and condition.

    In the order of the keys, beginning after one of them. Raises ConnectorError (ARCHIVE_FAILED)
    if the storage cannot be asked.
    """
    storage = DjangoObjectStorage()
    archived = ErpExport.objects.filter(archived_at__isnull=False, archive_pruned_at=None)
    archived = archived.order_by("export_storage_key")
    objects = archived.values_list("export_storage_key", "payload_sha256").distinct()
    while page := list(objects.filter(export_storage_key__gt=after)[:_LISTED_AT_ONCE]):
        for key, sha256 in page:
            yield key, _condition(storage, key, sha256)
            after = key


def _condition(storage: ObjectStorage, key: str, sha256: str) -> Condition:
    try:
        content = storage.get(key)
    except ConnectorError as e:
        if e.code == "ARCHIVE_MISSING":
            return Condition.MISSING
        raise
    is_whole = hashlib.sha256(content).hexdigest() == sha256
    return Condition.WHOLE if is_whole else Condition.DIFFERENT
