"""The lifecycle of exports: the one function that changes them and writes their history."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import models, transaction
from django.db.models import Case, Q, Value, When

from accounts.models import User
from exports.events import announce_status
from exports.models import ErpExport, ErpExportEvent
from kernel.db import Now, retried
from orders import lifecycle

logger = logging.getLogger(__name__)


def lock_exports(ids: Collection[UUID]) -> dict[UUID, ErpExport]:
    """Lock exports and, before them, their orders; return the exports as they are now.

    Their payloads are left unread.
    """
    rows = ErpExport.objects.filter(id__in=ids).order_by("id")
    lifecycle.lock(set(rows.values_list("draft_order", flat=True)))
    return {export.id: export for export in rows.select_for_update(no_key=True).defer("payload")}


@retried
def advance(
    ids: Collection[UUID],
    *,
    kind: ErpExportEvent.Kind,
    where: Q,
    actor: User | None = None,
    details: Mapping[UUID, dict[str, Any]] | None = None,
    values: Mapping[str, Mapping[UUID, Any]] | None = None,
    **fields: Any,
) -> set[UUID]:
    """Change the exports for which `where` still holds, note an event each, return their ids.

    `fields` are set alike on all, `values` per export. Another writer may be faster: whoever is not
    in the answer was not changed.
    """
    if not ids:
        return set()
    reports = (values or {}).get("error_json") or dict.fromkeys(ids, fields.get("error_json"))
    with transaction.atomic():
        rows = ErpExport.objects.filter(where, id__in=ids)
        # In one order, so that two workers with overlapping batches cannot block each other.
        locked = rows.select_for_update(no_key=True).order_by("id")
        held = {row.id: row for row in locked.only("id", "erp_connection", "org", "status")}
        for name, own in (values or {}).items():
            field = ErpExport._meta.get_field(name)
            assert isinstance(field, models.Field)
            fields[name] = Case(
                *(When(id=key, then=Value(own[key], output_field=field)) for key in held),
                output_field=field,
            )
        changed = rows.filter(id__in=held).update(updated_at=Now(), **fields) if held else 0
        assert changed == len(held), "a locked export changed under its lock"
        ErpExportEvent.objects.bulk_create(
            ErpExportEvent(
                export_id=key,
                kind=kind,
                status=fields.get("status", row.status),
                actor=actor,
                detail=(details or {}).get(key, {}),
            )
            for key, row in held.items()
        )
        if "status" in fields:
            exports = list(held.values())
            announce_status(fields["status"], exports, by_person=actor is not None)
            for export in exports:
                export.error_json = reports[export.id]
            log_after_commit(kind, exports)
    return set(held)


def log_after_commit(kind: ErpExportEvent.Kind, exports: Sequence[ErpExport]) -> None:
    """Let the log say, too, what became of exports, once it is certain."""

    def log() -> None:
        for export in exports:
            # An ERP's refusal, say, was raised by nothing of ours: no other line has its id.
            error = f" [{export.error_json['correlation_id']}]" if export.error_json else ""
            logger.info("export %s: %s%s", export.id, kind.value, error, extra=ids_of(export))

    transaction.on_commit(log, robust=True)


def ids_of(export: ErpExport) -> dict[str, UUID]:
    """An export's ids, as log lines about it carry them."""
    return {
        "export_id": export.id,
        "connection_id": export.erp_connection_id,
        "org_id": export.org_id,
    }
