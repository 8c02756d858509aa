"""The counters count each event once, also after delays, crashes and concurrent runs."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.db import transaction

from connectors.models import ErpConnection
from exports.models import Counter, CounterProgress, ErpExport, ErpExportEvent
from exports.reporting import counters
from tests.support.builders import a_connection, a_user, an_org, some_exports

pytestmark = [pytest.mark.django_db, pytest.mark.ledger, pytest.mark.usefixtures("without_lag")]

CONFIG = {"mode": "sftp", "host": "erp.example", "username": "u", "password": "p"}
CONFIG |= {"export_path": "/out", "host_keys": []}


def an_export(remote: ErpConnection, number: int = 0) -> ErpExport:
    (export,) = some_exports(remote.org, a_user(remote.org, f"ann-{number}"), first=number)
    return export


def note(export: ErpExport, kind: str, status: str, **fields: Any) -> None:
    ErpExportEvent.objects.create(export=export, kind=kind, status=status, **fields)


def counted() -> dict[tuple[str, str], int]:
    counters.count_events()
    counters.count_events()
    return {(t.outcome, t.label): t.count for t in Counter.objects.order_by("id")}


def test_each_outcome_is_counted_under_its_cause_or_its_time(remote: ErpConnection) -> None:
    export = an_export(remote)
    created = export.created_at
    ErpExport.objects.update(sent_at=created + timedelta(seconds=4))
    sent_at, acked_at = created + timedelta(seconds=5), created + timedelta(days=9)
    note(export, "STAGING", "PENDING")
    note(export, "ATTEMPT_FAILED", "PENDING", detail={"code": "DNS"})
    note(export, "SENT", "SENT", at=sent_at)
    note(export, "RESOLVED", "SENT", at=sent_at + timedelta(seconds=1))
    note(export, "ACKED", "ACKED", at=acked_at)
    note(export, "REFUSED", "FAILED", detail={"erp_code": "E1"})
    note(export, "FAILED", "FAILED", detail={"code": "GIVEN_UP"})
    note(export, "RESOLVED", "FAILED", detail={"outcome": "NOT_DELIVERED"})
    note(export, "FAILED", "FAILED")
    note(export, "CANCELLED", "FAILED")
    assert counted() == {
        ("created", ""): 1,
        ("attempt_failed", "DNS"): 1,
        ("sent", "5"): 1,
        ("sent", "10"): 1,
        ("acked", "+Inf"): 1,
        ("failed", "ERP_REFUSED"): 1,
        ("failed", "GIVEN_UP"): 1,
        ("failed", "NOT_DELIVERED"): 1,
        ("failed", ""): 1,
        ("cancelled", ""): 1,
    }
    took = dict(Counter.objects.exclude(took=timedelta()).values_list("label", "took"))
    assert took == {
        "5": timedelta(seconds=5),
        "10": timedelta(seconds=6),
        "+Inf": timedelta(days=9, seconds=-4),
    }


def test_what_was_counted_is_not_counted_again(remote: ErpConnection) -> None:
    export = an_export(remote)
    assert counted() == counted() == {("created", ""): 1}
    note(export, "CREATED", "PENDING")
    assert counted() == {("created", ""): 2}
    # Retention may remove what was counted.
    ErpExportEvent.objects.all().delete()
    assert counted() == {("created", ""): 2}
    note(export, "CREATED", "PENDING")
    assert counted() == {("created", ""): 3}


def test_many_are_counted_in_steps(remote: ErpConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "_AT_ONCE", 3)
    export = an_export(remote)
    # Else it counts up to here first, from 0, in steps of three.
    last = ErpExportEvent.objects.latest("id").id
    CounterProgress.objects.create(id=1, position=last, high_watermark=last)
    for number in range(10):
        note(export, "SENT", "SENT", at=export.created_at + timedelta(seconds=number / 10))
    assert counted()["sent", "1"] == 10
    assert Counter.objects.get(outcome="sent").took == timedelta(seconds=4.5)


def test_connections_are_counted_apart(remote: ErpConnection) -> None:
    other = a_connection(an_org("rival"), CONFIG)
    an_export(remote, 1), an_export(other, 2), an_export(other, 3)
    counted()
    assert dict(Counter.objects.values_list("erp_connection", "count")) == {
        remote.id: 1,
        other.id: 2,
    }


def test_a_step_that_breaks_off_changes_nothing(
    remote: ErpConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_export(remote)
    counters.count_events()

    def crash(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CounterProgress, "save", crash)
        with pytest.raises(KeyboardInterrupt):
            counters.count_events()
    assert not Counter.objects.exists()
    assert counted() == {("created", ""): 1}


@pytest.fixture
def committed(transactional_db: None) -> ErpExport:
    """An export that other sessions see."""
    return an_export(a_connection(an_org(), CONFIG))


def together(*works: Any) -> None:
    def work(one: Any) -> None:
        try:
            one()
        finally:
            database.close()

    threads = [threading.Thread(target=work, args=(one,)) for one in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.skipif("database.vendor != 'postgresql'", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_events_that_commit_late_are_counted(committed: ErpExport) -> None:
    """An event whose transaction is still open, though events after it are to be seen."""
    is_open, may_end = threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            note(committed, "CREATED", "PENDING")
            is_open.set()
            may_end.wait(10)

    def fast() -> None:
        is_open.wait(10)
        note(committed, "CREATED", "PENDING")
        for _ in range(3):
            counters.count_events()
        may_end.set()

    together(slow, fast)
    assert counted() == {("created", ""): 3}


@pytest.mark.django_db(transaction=True)
def test_workers_that_count_together_count_once(
    committed: ErpExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "_AT_ONCE", 2)
    # The ids go on from test to test, and it would step through all of them.
    past = ErpExportEvent.objects.earliest("id").id - 1
    CounterProgress.objects.create(id=1, position=past, high_watermark=past)
    for _ in range(20):
        note(committed, "CREATED", "PENDING")
    together(*[counters.count_events] * 4)
    together(*[counters.count_events] * 4)
    assert counted() == {("created", ""): 21}
