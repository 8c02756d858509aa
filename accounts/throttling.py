"""Limits on how often a client may ask or guess, counted for all web processes at once."""

import hashlib
import ipaddress
from typing import Final

from django.db import connection
from django.db.models import F
from django.http import HttpRequest

from accounts.models import RateWindow
from kernel.db import db_now
from kernel.request_context import address_of

_PRUNED_AT_ONCE: Final = 10_000
_CLOCK: Final = {
    "postgresql": "FLOOR(EXTRACT(EPOCH FROM NOW()))::bigint",
    "sqlite": "CAST(STRFTIME('%%s', 'NOW') AS INTEGER)",
}
# Local to the one transaction that this statement is: no request waits for the disk because it was
# counted, and a crash of the server forgets some counts at worst.
_UNSYNCED: Final = "SET_CONFIG('synchronous_commit', 'off', TRUE) = 'off'"
_COUNT: Final = """
    INSERT INTO rate_window AS past (key, count, ends_at)
    SELECT %(key)s, 1, {clock} + %(seconds)s WHERE {condition}
    ON CONFLICT (key) DO UPDATE SET
        count = CASE WHEN past.ends_at > {clock} THEN past.count + 1 ELSE 1 END,
        ends_at = CASE WHEN past.ends_at > {clock} THEN past.ends_at ELSE excluded.ends_at END
    RETURNING count, ends_at - {clock}
"""


def count(what: str, *who: str, limit: int, seconds: int) -> int:
    """Count once more; return after how many seconds to come back, or 0 within the limit.

    The first count opens a window of some seconds, and `limit` counts may fall into it. Counting
    is one statement, so that of any number of simultaneous requests only so many pass.
    """
    # What else a larger transaction does must outlast a crash.
    may_be_lost = connection.vendor == "postgresql" and not connection.in_atomic_block
    statement = _COUNT.format(
        clock=_CLOCK[connection.vendor], condition=_UNSYNCED if may_be_lost else "TRUE"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, {"key": _key(what, *who), "seconds": seconds})
        counted, wait = cursor.fetchone()
    return wait if counted > limit else 0


def take_back(what: str, *who: str) -> None:
    """Undo one count."""
    RateWindow.objects.filter(key=_key(what, *who)).update(count=F("count") - 1)


def forget(what: str, *who: str) -> None:
    """Undo all counts."""
    RateWindow.objects.filter(key=_key(what, *who)).delete()


def prune() -> int:
    """Delete windows that have ended, so many at once; return how many."""
    ended = RateWindow.objects.filter(ends_at__lte=int(db_now().timestamp()))
    # The condition stands twice because a window may open anew in between.
    return ended.filter(key__in=ended.values("key")[:_PRUNED_AT_ONCE]).delete()[0]


def client_address(request: HttpRequest) -> str:
    """The address that a request is counted under; see kernel.request_context.

    An IPv6 address stands for its /64: so many addresses one client has.
    """
    text = address_of(request)
    try:
        network = ipaddress.IPv6Network((int(ipaddress.IPv6Address(text)), 64), strict=False)
    except ValueError:
        return text
    return str(network)


def _key(what: str, *who: str) -> str:
    # A digest, because people type passwords where user names belong.
    return hashlib.sha256("\0".join((what, *who)).encode()).hexdigest()
