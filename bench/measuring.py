"""Measuring and reporting: medians of rounds, one JSON object per line."""

import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial


def seconds_of(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def timed(action: Callable[[int], object], *, rounds: int) -> list[float]:
    """Return the milliseconds of each round, after a warm-up of a tenth as many rounds."""
    for number in range(-max(1, rounds // 10), 0):
        action(number)
    return [1000 * seconds_of(partial(action, number)) for number in range(rounds)]


def report_cost(name: str, took: Sequence[float], *, target_ms: float, per: int = 1) -> None:
    """Report milliseconds; `per`: the number of items in a round."""
    low, median, high = (q / per for q in statistics.quantiles(took, n=4))
    report(
        name,
        median_ms=round(median, 3),
        quartiles_ms=[round(low, 3), round(high, 3)],
        rounds=len(took),
        target_ms=target_ms,
        met=median < target_ms,
    )


def report(name: str, **figures: object) -> None:
    """Print one measurement, and the load of the machine by this and by other processes."""
    line = {"bench": name, **figures, "load": round(os.getloadavg()[0], 1)}
    print(json.dumps(line), flush=True)
