"""Clean-up: staging files that are not needed are removed, hopeless exports are given up."""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q

from connectors import circuit_breaker, ownership
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from exports import lifecycle
from exports.delivery import bulkhead
from exports.delivery.outcomes import fail
from exports.lifecycle import TO_CLEAN_UP, Event
from exports.models import ErpExport
from kernel.db import db_now

logger = logging.getLogger(__name__)

# A worker that is still about to write under a noted name has long ended by then.
MINIMUM_AGE = timedelta(minutes=10)
_AT_ONCE = 500


def clean_up(*, minimum_age: timedelta = MINIMUM_AGE) -> int:
    """Remove the staging files that no export needs; return of how many exports.

    Only names that a STAGING event noted are removed, the claimed one once its export is sent.
    """
    before = db_now() - minimum_age
    dirty = ErpExport.objects.filter(TO_CLEAN_UP, updated_at__lt=before)
    connections = ErpConnection.objects.filter(
        Q(retry_at=None) | Q(retry_at__lte=db_now()),
        id__in=dirty.values("erp_connection"),
        paused_at=None,
    )
    return sum(_clean_up_connection(connection, before) for connection in connections)


def _clean_up_connection(connection: ErpConnection, before: datetime) -> int:
    held = bulkhead.acquire(connection.id)
    if held is None:
        return 0
    try:
        with bulkhead.open_session(connection) as session:
            dirty = connection.exports.filter(TO_CLEAN_UP, updated_at__lt=before)
            exports = list(dirty.order_by("created_at").prefetch_related("events")[:_AT_ONCE])
            names = {export.id: _lost_names(export) for export in exports}
            paths = [path for paths in names.values() for path in paths]
            failed = {
                path
                for path, error in zip(paths, session.discard(paths), strict=True)
                if error is not None
            }
    except bulkhead.TooSlow:
        return 0
    except ConnectorError as e:
        # As in a delivery: a refused password must not be tried again and again.
        circuit_breaker.record_failure(connection, e)
        return 0
    finally:
        held.release()
    clean = [key for key, paths in names.items() if not failed.intersection(paths)]
    return len(
        lifecycle.apply(
            Event.CLEANED_UP, clean, details={key: {"removed": names[key]} for key in clean}
        )
    )


def _lost_names(export: ErpExport) -> list[str]:
    needed = export.staged_path if export.status == ErpExport.Status.PENDING else None
    noted = (event.detail.get("tmp") for event in export.events.all())
    return [path for path in noted if path and path != needed]


def give_up() -> int:
    """Fail the unstaged exports of unreachable connections after EXPORT_GIVE_UP_HOURS.

    Paused connections wait for a person, however long.
    """
    oldest = db_now() - timedelta(hours=settings.EXPORT_GIVE_UP_HOURS)
    hopeless = ErpExport.objects.filter(
        ownership.is_ours(),
        status=ErpExport.Status.PENDING,
        staged_path=None,
        created_at__lt=oldest,
        erp_connection__paused_at=None,
        erp_connection__failing_since__lt=oldest,
    )
    count = 0
    for export in hopeless.order_by("created_at")[:_AT_ONCE]:
        report = {**ConnectorError("GIVEN_UP").as_json(), "cause": export.error_json}
        count += fail(export, report)
    return count
