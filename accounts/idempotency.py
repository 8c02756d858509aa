"""Stored answers to requests that may be repeated: one for each key of an organisation."""

from datetime import timedelta
from typing import Final

from accounts.models import IdempotencyKey, Org
from kernel.db import db_now

KEPT: Final = timedelta(days=7)
_PRUNED_AT_ONCE: Final = 10_000


def begin(org: Org, *, key: str, request_sha256: str) -> tuple[IdempotencyKey, bool]:
    """Return the row of a key, and whether it is new: then the caller fills in the answer.

    Call it within the transaction that does the work, so both are committed or neither. Waits for
    another transaction that has begun the same key.
    """
    mine = IdempotencyKey(org=org, key=key, request_sha256=request_sha256)
    IdempotencyKey.objects.bulk_create([mine], ignore_conflicts=True)
    stored = IdempotencyKey.objects.get(org=org, key=key)
    return stored, stored.id == mine.id


def prune() -> int:
    """Forget answers that are no longer kept; return how many."""
    old = IdempotencyKey.objects.filter(created_at__lt=db_now() - KEPT)
    return old.filter(id__in=old.values("id")[:_PRUNED_AT_ONCE]).delete()[0]
