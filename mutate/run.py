"""A run: try a sample of mutants on copies of the tree, record each result, print a summary."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from mutate.baseline import Baseline
from mutate.copies import Copy, copies, tree_hash
from mutate.journal import append, records
from mutate.mutants import Mutant, Plan, sample

GOAL = 85
_NOTICED = ("killed", "timeout")

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`minutes`: after this time no new mutant is tried."""

    seed: int
    sample: int = 300
    minutes: float = 60
    workers: int = 2


def run(root: Path, settings: Settings) -> bool:
    """Return whether the sample is complete, the goal reached and each named change noticed."""
    deadline = time.monotonic() + settings.minutes * 60
    plan = Plan.read(root / "mutate" / "plan.toml")
    mutants = sample(root, plan, size=settings.sample, seed=settings.seed)
    folder = root / "var" / "mutate"
    folder.mkdir(parents=True, exist_ok=True)
    tree = tree_hash(root, plan.test_files)
    log = folder / f"{tree}-results.jsonl"
    # Results of other seeds count as well: the same change is not tried again.
    results = {result["key"]: result for result in records(log)}
    _say(f"SEED={settings.seed}: {len(mutants)} mutants of tree {tree}, results in {log}")
    todo = [mutant for mutant in mutants if mutant.key not in results]
    done = len(mutants) - len(todo)
    if todo:
        with copies(root, settings.workers) as made:
            pool = _Pool(made)
            baseline = Baseline.read_or_record(folder / f"{tree}-baseline.jsonl", plan, pool.do_all)
            for test in baseline.failed:
                _say(f"not used, because it fails without any change: {test}")
            for mutant, result in pool.map(_tried(root, plan, baseline, deadline), todo):
                if result is None:
                    continue
                results[mutant.key] = result
                append(log, {"key": mutant.key, **result})
                done += 1
                _say(
                    f"{done}/{len(mutants)} {result['outcome']} in {result['seconds']} s "
                    f"{mutant.path}:{mutant.line} {result['by']}"
                )
    return _sum_up(mutants, results, settings.seed)


class _Pool:
    """Runs jobs on the copies, one at a time on each."""

    def __init__(self, made: Sequence[Copy]) -> None:
        self._size = len(made)
        self._free: SimpleQueue[Copy] = SimpleQueue()
        for copy in made:
            self._free.put(copy)

    def do_all(self, jobs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the result of each job as soon as it is ready."""
        for _, result in self.map(Copy.do, jobs):
            yield result

    def map(
        self, work: Callable[[Copy, _Item], _Result], items: Sequence[_Item]
    ) -> Iterator[tuple[_Item, _Result]]:
        """Yield each item with its result as soon as it is ready."""

        def on_a_copy(item: _Item) -> _Result:
            copy = self._free.get()
            try:
                return work(copy, item)
            finally:
                self._free.put(copy)

        with ThreadPoolExecutor(self._size) as threads:
            futures = {threads.submit(on_a_copy, item): item for item in items}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                # After Ctrl-C or an error, begin no other job.
                threads.shutdown(wait=False, cancel_futures=True)


def _tried(
    root: Path, plan: Plan, baseline: Baseline, deadline: float
) -> Callable[[Copy, Mutant], dict[str, Any] | None]:
    """Return a function that tries a mutant and returns its result, None after the deadline."""

    def work(copy: Copy, mutant: Mutant) -> dict[str, Any] | None:
        if time.monotonic() > deadline:
            return None
        began = time.monotonic()
        result: dict[str, Any] = {"outcome": "survived", "by": ""}
        unchanged = (root / mutant.path).read_text()
        for limits in baseline.rounds(mutant, plan, unchanged):
            result = _notice(copy, mutant, unchanged, limits)
            if result["outcome"] != "survived":
                break
        return {**result, "seconds": round(time.monotonic() - began, 1)}

    return work


def _notice(copy: Copy, mutant: Mutant, unchanged: str, limits: dict[str, float]) -> dict[str, Any]:
    """Run tests against a mutant.

    A failure of a test counts if that test fails again when it runs alone. A failure before the
    first test counts if the unchanged module reaches its first test; if it does not either, raises
    RuntimeError.
    """
    job = {"path": mutant.path, "source": mutant.source}
    while limits:
        result = copy.do({**job, "limits": limits})
        by = result["by"]
        first = by if by in limits else next(iter(limits))
        again = {"limits": {first: limits[first]}}
        if result["outcome"] == "survived":
            return result
        if by not in limits:
            control = copy.do({"path": mutant.path, "source": unchanged, **again})
            if control["by"] not in ("", first):
                raise RuntimeError(f"no test begins, even without a change: {control}")
            return {name: result[name] for name in ("outcome", "by")}
        if copy.do({**job, **again})["outcome"] != "survived":
            return result
        # The cause may be a busy machine. Let the other tests decide.
        _say(f"{by} failed by chance")
        limits = {test: limit for test, limit in limits.items() if test != by}
    return {"outcome": "survived", "by": ""}


def _sum_up(mutants: list[Mutant], results: dict[str, dict[str, Any]], seed: int) -> bool:
    tried = [(mutant, results[mutant.key]) for mutant in mutants if mutant.key in results]
    unnoticed = [(m, r) for m, r in tried if r["outcome"] not in _NOTICED]
    for mutant, result in unnoticed:
        _say(f"\n{result['outcome']}: {mutant.path}:{mutant.line} {mutant.name}\n{mutant.diff}")
    count = Counter(result["outcome"] for _, result in tried)
    share = 100 * (len(tried) - len(unnoticed)) / len(tried) if tried else 0
    _say(f"\n{dict(count)}: the tests notice {share:.1f} %, the goal is {GOAL} % (SEED={seed})")
    if len(tried) < len(mutants):
        _say(f"Not tried yet: {len(mutants) - len(tried)}. Continue with: make mutate SEED={seed}")
    named = [mutant.name for mutant, _ in unnoticed if mutant.name]
    for name in named:
        _say(f"The tests miss a named change: {name}")
    return len(tried) == len(mutants) and share >= GOAL and not named


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
