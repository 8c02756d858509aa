"""Durations in words."""

from datetime import timedelta


def humanize(duration: timedelta) -> str:
    """To about two digits, which is as much as a person takes in: 0.4 s, 12 s, 3 min, 5 h, 2 d."""
    seconds = duration.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f} s"
    for unit, size, limit in (("s", 1, 100), ("min", 60, 6_000), ("h", 3_600, 172_800)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
