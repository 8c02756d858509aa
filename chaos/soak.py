"""The soak: one worker lives through thousands of deliveries on a bad network; nothing grows."""

import json
import sys
import time
from dataclasses import asdict, dataclass

import psutil

_EVERY = 1000
_LOOKS = 25


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reading:
    sent: int
    threads: int
    descriptors: int
    rss_mb: float


class Gauge:
    """Reads a process at the start, after every 1,000 deliveries and at the end; prints it."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._readings: list[_Reading] = []

    def is_due(self, sent: int) -> bool:
        return sent >= len(self._readings) * _EVERY

    def read(self, sent: int) -> None:
        """Take the least of some looks: between two sessions a worker holds nothing open."""
        looks = []
        for _ in range(_LOOKS):
            with self._process.oneshot():
                looks.append((self._process.num_threads(), self._process.num_fds()))
            time.sleep(0.02)
        reading = _Reading(
            sent=sent,
            threads=min(threads for threads, _ in looks),
            descriptors=min(descriptors for _, descriptors in looks),
            rss_mb=round(self._process.memory_info().rss / 2**20, 1),
        )
        self._readings.append(reading)
        sys.stdout.write(json.dumps({"soak": asdict(reading)}) + "\n")
        sys.stdout.flush()

    def violations(self) -> list[str]:
        """What grew after the first 1,000 deliveries had warmed everything up."""
        first, last = self._readings[min(1, len(self._readings) - 1)], self._readings[-1]
        found = []
        if last.threads > first.threads + 2:
            found.append(f"I14 threads grew from {first.threads} to {last.threads}")
        if last.descriptors > first.descriptors + 4:
            found.append(f"I14 descriptors grew from {first.descriptors} to {last.descriptors}")
        if last.rss_mb > first.rss_mb * 1.2:
            found.append(f"I14 memory grew from {first.rss_mb} to {last.rss_mb} MB")
        return found
