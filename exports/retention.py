"""Retention: the content of finished exports is deleted when it is old enough.

Rows stay, so that the ledger still tells what became of every order; what goes is the content.
Nothing that is under way is touched, nor what an open question may need.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce

from accounts.models import Org
from connectors import ownership
from connectors.models import ErpConnection
from connectors.storage import DjangoObjectStorage
from exports.lifecycle import TO_CLEAN_UP
from exports.models import ErpAck, ErpExport, ErpExportEvent
from kernel.db import Now, db_now

_RUN_SECONDS: Final = 60
_AT_ONCE: Final = 500

_OPEN_ACK = Exists(ErpAck.objects.filter(ErpAck.OPEN, export=OuterRef("pk")))


def prune() -> Counter[str]:
    """Forget what is due, in small steps and for a bounded time; return how much of what.

    May be repeated, and ended at any moment. Raises OtherInstance, and ConnectorError if the
    archive cannot be asked.
    """
    ownership.require()
    ends = time.monotonic() + _RUN_SECONDS
    done: Counter[str] = Counter()
    for rule, due in _due():
        while time.monotonic() < ends and (
            ids := list(due.values_list("pk", flat=True)[:_AT_ONCE])
        ):
            rule.forget(ids)
            done[rule.what] += len(ids)
    return done


def count_due() -> Counter[str]:
    """How much of what is due to be forgotten."""
    due: Counter[str] = Counter()
    for rule, rows in _due():
        due[rule.what] += rows.count()
    return due


def _due() -> Iterator[tuple["_Rule", QuerySet[Any]]]:
    now = db_now()
    finished = _finished()
    orgs = list(Org.objects.order_by("?"))
    for rule in _RULES:
        for org in orgs:
            if days := getattr(org, rule.days):
                yield rule, rule.due(finished, now - timedelta(days=days)).filter(org=org)


def _finished() -> QuerySet[ErpExport]:
    """Exports that wait for nobody, neither for the ERP nor for a person."""
    silent = [erp.id for erp in ErpConnection.objects.all() if not erp.reads_acks]
    return ErpExport.objects.filter(
        Q(status__in=[ErpExport.Status.ACKED, ErpExport.Status.FAILED])
        | Q(status=ErpExport.Status.SENT, erp_connection__in=silent)
    ).exclude(_OPEN_ACK)


def _old(finished: QuerySet[ErpExport], before: datetime) -> QuerySet[ErpExport]:
    # Whatever happens to an export counts as its age, a late decision about an answer too.
    return finished.filter(created_at__lt=before, updated_at__lt=before)


def _with_payload(finished: QuerySet[ErpExport], before: datetime) -> QuerySet[ErpExport]:
    return _old(finished, before).filter(payload__isnull=False, archived_at__isnull=False)


def _in_archive(finished: QuerySet[ErpExport], before: datetime) -> QuerySet[ErpExport]:
    return _old(finished, before).filter(archived_at__isnull=False, archive_pruned_at=None)


def _with_events(finished: QuerySet[ErpExport], before: datetime) -> QuerySet[ErpExport]:
    # The cleanup finds its staging files by them.
    return _old(finished, before).exclude(TO_CLEAN_UP).filter(events_pruned_at=None)


def _with_text(finished: QuerySet[ErpExport], before: datetime) -> QuerySet[ErpAck]:
    settled = ErpAck.objects.exclude(ErpAck.OPEN).exclude(
        classification=ErpAck.Classification.WAITING
    )
    return settled.filter(
        Q(export=None) | Q(export__in=finished),
        seen_at__lt=before,
        raw_pruned_at=None,
    )


def _forget_payloads(ids: Collection[UUID]) -> None:
    ErpExport.objects.filter(id__in=ids).update(payload=None, payload_pruned_at=Now())


def _forget_objects(ids: Collection[UUID]) -> None:
    storage = DjangoObjectStorage()
    for key, export_id in ErpExport.objects.filter(id__in=ids).values_list(
        "export_storage_key", "id"
    ):
        others = ErpExport.objects.filter(
            export_storage_key=key, archived_at__isnull=False, archive_pruned_at=None
        ).exclude(id=export_id)
        if not others.exists():
            storage.delete(key)
            # One that came to share the object in this very moment is archived anew.
            others.filter(payload__isnull=False).update(archived_at=None)
        ErpExport.objects.filter(id=export_id).update(
            payload=None,
            payload_pruned_at=Coalesce("payload_pruned_at", Now()),
            archive_pruned_at=Now(),
        )


@transaction.atomic
def _forget_events(ids: Collection[UUID]) -> None:
    ErpExportEvent.objects.filter(export__in=ids).delete()
    ErpExport.objects.filter(id__in=ids).update(events_pruned_at=Now())


def _forget_texts(ids: Collection[UUID]) -> None:
    ErpAck.objects.filter(id__in=ids).update(raw="", raw_pruned_at=Now())


class _Rule(NamedTuple):
    """What is forgotten, and which setting of an org says after how many days."""

    what: str
    days: str
    due: Callable[[QuerySet[ErpExport], datetime], QuerySet[Any]]
    forget: Callable[[Collection[UUID]], None]


_RULES: Final = (
    _Rule("payloads", "keep_payloads_days", _with_payload, _forget_payloads),
    _Rule("histories of exports", "keep_events_days", _with_events, _forget_events),
    _Rule("texts of answers", "keep_acks_days", _with_text, _forget_texts),
    # Last: the storage may be slow, or refuse.
    _Rule("archived objects", "keep_archive_days", _in_archive, _forget_objects),
)
