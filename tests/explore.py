"""`make explore`: the randomised tests with fresh seeds, until the time is over.

MINUTES=15 is how long (0: one round); ONLY=state,acks,contract,servers,people chooses parts; SEED
is the first seed. The parts share the time and the processors. A round of a part is a run of its
test with a seed of its own; what breaks the test is printed with that seed, and the exit code is 1.
"""

import os
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.support.servers import Postgres
from tests.support.servers.postgres import URL_VARIABLE

ROOT: Final = Path(__file__).parent.parent

# Its test, and the file for a named test of what it finds.
PARTS: Final = {
    "state": (
        "tests/ledger/test_state_machine.py::test_no_promise_is_broken_whatever_happens[20]",
        "tests/ledger/test_delivery.py",
    ),
    "acks": (
        "tests/ledger/test_ack_fuzz.py::test_nothing_is_lost_whatever_is_written[12]",
        "tests/ledger/test_acks.py",
    ),
    "contract": (
        "tests/doors/test_contract.py::test_every_answer_is_as_described",
        "tests/doors/test_api.py",
    ),
    "servers": (
        "tests/servers/test_server_quirks.py::test_no_order_is_lost_or_doubled_by_any_server[6]",
        "tests/servers/test_server_faults.py",
    ),
    "people": (
        "tests/ledger/test_interleavings.py::test_each_order_is_exported_once[25]",
        "tests/ledger/test_acceptance_races.py",
    ),
}


@dataclass(slots=True)
class Exploration:
    """What is left to do, for several threads. A part that has found something rests."""

    parts: Sequence[str]
    next_seed: int
    ends: float
    found: list[str] = field(default_factory=list)
    rounds: Counter[str] = field(default_factory=Counter)
    _seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_round(self) -> tuple[str, int] | None:
        """The part that had the least time until now, and a seed for it."""
        with self._lock:
            left = [part for part in self.parts if part not in self.found]
            if not left or (self.rounds and time.monotonic() >= self.ends):
                return None
            part = min(left, key=lambda part: (self._seconds[part], self.rounds[part]))
            self.rounds[part] += 1
            seed, self.next_seed = self.next_seed, self.next_seed + 1
            return part, seed

    def end_round(self, part: str, seed: int, seconds: float, output: str | None) -> None:
        """`output`: what the test printed if it failed."""
        with self._lock:
            self._seconds[part] += seconds
            if output is not None and part not in self.found:
                self.found.append(part)
                print(output, finding(part, seed), sep="\n", flush=True)


def finding(part: str, seed: int) -> str:
    return (
        f"FOUND by {part} with seed {seed}; the minimal case is above.\n"
        f"Repeat it: make explore ONLY={part} SEED={seed} MINUTES=0\n"
        f"Write it as a named test in {PARTS[part][1]}, see it fail, then mend the cause."
    )


def serve(exploration: Exploration) -> None:
    """Do rounds, one after another, on a PostgreSQL of its own."""
    with Postgres() as postgres:
        env = os.environ | {URL_VARIABLE: postgres.url}
        while chosen := exploration.next_round():
            part, seed = chosen
            began = time.monotonic()
            output = run(PARTS[part][0], seed, env)
            exploration.end_round(part, seed, time.monotonic() - began, output)


def run(test: str, seed: int, env: dict[str, str]) -> str | None:
    """Run a test with a seed; return what it printed if it failed."""
    options = [f"--hypothesis-seed={seed}", "--hypothesis-profile=explore", "--reuse-db"]
    if test != PARTS["contract"][0]:
        # Its plugin leaves the values out of every minimal case.
        options += ["-p", "no:schemathesis"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "--tb=short", *options, test],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        # Not a finding: the test could not be run.
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout}")
    return None if done.returncode == 0 else done.stdout


def main() -> int:
    parts = (os.environ.get("ONLY") or ",".join(PARTS)).split(",")
    if unknown := set(parts) - PARTS.keys():
        sys.exit(f"ONLY: there is no {', '.join(sorted(unknown))}. Choose from {','.join(PARTS)}.")
    seed = int(os.environ.get("SEED") or secrets.randbelow(10**9))
    minutes = float(os.environ.get("MINUTES") or 15)
    print(f"seed {seed}, {minutes:g} minutes: {', '.join(parts)}", flush=True)
    exploration = Exploration(parts, seed, time.monotonic() + 60 * minutes)
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(serve, exploration) for _ in range(threads)]:
            done.result()
    rounds = ", ".join(f"{part} {count}" for part, count in exploration.rounds.items())
    print(f"rounds: {rounds}; found by: {', '.join(exploration.found) or 'none'}", flush=True)
    return 1 if exploration.found else 0


if __name__ == "__main__":
    sys.exit(main())
