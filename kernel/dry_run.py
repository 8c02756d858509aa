"""Dry runs: ask a service what it would do, without doing it."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction


@contextmanager
def dry_run() -> Iterator[None]:
    """Run the block for its result or its error only: what it writes is rolled back.

    A confirmation page shows by it what the real rules will do. For services that touch only the
    database.
    """
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
