"""The soak: one worker makes thousands of deliveries on a bad network and must not grow."""

import json
import sys
import time
from dataclasses import asdict, dataclass

import psutil

_EVERY = 1000
_SAMPLES = 25


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reading:
    sent: int
    threads: int
    descriptors: int
    rss_mb: float


class Gauge:
    """Measures a process at the start, after each 1,000 deliveries and at the end; prints each."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._readings: list[_Reading] = []

    def is_due(self, sent: int) -> bool:
        return sent >= len(self._readings) * _EVERY

    def read(self, sent: int) -> None:
        """Take the minimum of some samples: between two sessions a worker holds nothing open."""
        samples = []
        for _ in range(_SAMPLES):
            with self._process.oneshot():
                samples.append((self._process.num_threads(), self._process.num_fds()))
            time.sleep(0.02)
        reading = _Reading(
            sent=sent,
            threads=min(threads for threads, _ in samples),
            descriptors=min(descriptors for _, descriptors in samples),
            rss_mb=round(self._process.memory_info().rss / 2**20, 1),
        )
        self._readings.append(reading)
        sys.stdout.write(json.dumps({"soak": asdict(reading)}) + "\n")
        sys.stdout.flush()

    def violations(self) -> list[str]:
        """What has grown since the first 1,000 deliveries, which are the warm-up."""
        first, last = self._readings[min(1, len(self._readings) - 1)], self._readings[-1]
        found = []
        if last.threads > first.threads + 2:
            found.append(f"I14 threads grew from {first.threads} to {last.threads}")
        if last.descriptors > first.descriptors + 4:
            found.append(f"I14 descriptors grew from {first.descriptors} to {last.descriptors}")
        if last.rss_mb > first.rss_mb * 1.2:
            found.append(f"I14 memory grew from {first.rss_mb} to {last.rss_mb} MB")
        return found
