"""Waiting for what happens in another process or thread."""

import time
from collections.abc import Callable


def until(holds: Callable[[], object], why: str = "", *, seconds: float = 60) -> None:
    """Return as soon as the condition holds. AssertionError with `why` if it takes longer."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, why or f"it still does not hold after {seconds} s"
        time.sleep(0.01)
