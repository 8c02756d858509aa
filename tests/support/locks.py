"""Transactions that wait for each other. PostgreSQL only."""

from django.db import connection

from tests.support.waiting import until


def wait_until_one_waits() -> None:
    """Until a transaction waits for another one's lock; AssertionError if none does in time."""
    until(one_waits, "no transaction waits")


def one_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
        return cursor.fetchone() is not None
