"""Dry runs: ask a service what it would do, without doing it."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction


@contextmanager
def dry_run() -> Iterator[None]:
    """Run the block for its answer or its error alone: what it writes is rolled back.

    So a confirmation page tells what will happen by the very rules that will then apply. For
    services that touch nothing but the database.
    """
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
