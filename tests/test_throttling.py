"""Limits: they hold against simultaneous requests, hit who they are meant for, and end."""

import threading
from typing import Any

import pytest
from django.db import connection as database
from django.db import transaction
from django.db.models import F

from accounts import throttling
from accounts.models import RateWindow
from exports import tasks

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]


def end_windows() -> None:
    RateWindow.objects.update(ends_at=F("ends_at") - 3600)


def at_once(number: int, call: Any) -> list[Any]:
    """What that many threads got that called together."""
    results = []
    barrier = threading.Barrier(number)

    def run() -> None:
        try:
            database.ensure_connection()
            barrier.wait()
            results.append(call())
        finally:
            database.close()

    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == number
    return results


# Counting.
def test_counts_within_the_limit_pass() -> None:
    waits = [throttling.count("walks", "ann", limit=2, seconds=60) for _ in range(4)]
    assert waits[:2] == [0, 0]
    assert all(55 <= wait <= 60 for wait in waits[2:])


def test_counts_of_others_and_of_other_things_are_apart() -> None:
    for what, *who in (("walks", "ann"), ("walks", "bob"), ("talks", "ann"), ("walks", "a", "nn")):
        assert throttling.count(what, *who, limit=1, seconds=60) == 0


def test_a_window_that_has_ended_opens_anew() -> None:
    for _ in range(3):
        throttling.count("walks", "ann", limit=1, seconds=60)
    end_windows()
    assert throttling.count("walks", "ann", limit=1, seconds=60) == 0
    assert throttling.count("walks", "ann", limit=1, seconds=60) > 0


@pytest.mark.django_db(transaction=True)
def test_simultaneous_counts_do_not_slip_through() -> None:
    waits = at_once(50, lambda: throttling.count("walks", "ann", limit=10, seconds=60))
    assert waits.count(0) == 10
    assert RateWindow.objects.get().count == 50


@pytest.mark.django_db(transaction=True)
def test_counting_does_not_wait_for_the_disk() -> None:
    if database.vendor != "postgresql":
        pytest.skip("SQLite syncs every commit")

    def is_unflushed() -> bool:
        throttling.count("walks", "ann", limit=10, seconds=60)
        with database.cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()")
            return bool(cursor.fetchone()[0])

    assert sum(is_unflushed() for _ in range(20)) > 10
    assert _synchronous_commit() == "on"
    with transaction.atomic():
        throttling.count("walks", "ann", limit=10, seconds=60)
        assert _synchronous_commit() == "on", "what else the transaction does must last"


def _synchronous_commit() -> str:
    with database.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        return str(cursor.fetchone()[0])


def test_ended_windows_are_deleted_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "_PRUNED_AT_ONCE", 2)
    for name in ("ann", "bob", "eve"):
        throttling.count("walks", name, limit=1, seconds=60)
    end_windows()
    throttling.count("walks", "eve", limit=1, seconds=60)
    throttling.count("walks", "sam", limit=1, seconds=60)
    tasks.tidy()
    assert RateWindow.objects.count() == 2
    assert throttling.prune() == 0
