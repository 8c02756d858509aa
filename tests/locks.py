"""Transactions that wait for each other. PostgreSQL only."""

import time

from django.db import connection


def wait_until_one_waits() -> None:
    """Until a transaction waits for another one's lock; AssertionError if none does in time."""
    ends = time.monotonic() + 20
    with connection.cursor() as cursor:
        while time.monotonic() < ends:
            cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
            if cursor.fetchone():
                return
            time.sleep(0.01)
    raise AssertionError("no transaction waits")
