"""The waits between attempts, the same for everything that is delivered."""

from datetime import timedelta

_WAITS = tuple(timedelta(seconds=s) for s in (5, 30, 120, 600, 1800, 3600))


def wait_after(attempt: int) -> timedelta:
    """The wait after an attempt; the first is 1. The last wait is that of all further attempts."""
    return _WAITS[min(attempt, len(_WAITS)) - 1]
