"""The baseline: the time and the covered lines of each test in the unchanged tree."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutate.journal import append, records
from mutate.mutants import Mutant, Plan, statement_lines

# The limits for the sums of the tests of a round. A mutant that only slower tests would notice
# counts as survived.
_OWN_SECONDS = 30
_OTHER_SECONDS = 20


# Added to the limit of each test, because the first test in a process may have to start a server.
START_LIMIT = 30


@dataclass(frozen=True, slots=True)
class Baseline:
    """`seconds`: by test. `lines`: by module and line, its tests. `failed`: tests not to use."""

    seconds: dict[str, float]
    lines: dict[str, dict[str, list[str]]]
    failed: list[str]

    @classmethod
    def read_or_record(
        cls,
        file: Path,
        plan: Plan,
        do_all: Callable[[list[dict[str, Any]]], Iterable[dict[str, Any]]],
    ) -> "Baseline":
        """Read the baseline from `file`, after running and adding the test files it lacks."""
        known = records(file)
        recorded = {answer["file"] for answer in known}
        paths = sorted(plan.own)
        jobs = [{"file": t, "paths": paths} for t in plan.test_files if t not in recorded]
        for answer in do_all(jobs) if jobs else ():
            append(file, answer)
            known.append(answer)
        baseline = cls({}, {}, [])
        for answer in known:
            baseline._add(answer)
        return baseline

    def _add(self, answer: dict[str, Any]) -> None:
        self.failed.extend(answer["failed"])
        self.seconds.update(
            (test, took) for test, took in answer["tests"].items() if test not in answer["failed"]
        )
        for path, lines in answer["lines"].items():
            for line, tests in lines.items():
                self.lines.setdefault(path, {}).setdefault(line, []).extend(tests)

    def rounds(self, mutant: Mutant, plan: Plan, source: str) -> list[dict[str, float]]:
        """Return the tests to run against a mutant, with their limits: own and fast ones first."""
        wanted = statement_lines(source, mutant.line)
        lines = self.lines.get(mutant.path, {})
        covering = {
            test
            for line, tests in lines.items()
            if wanted is None or int(line) in wanted
            for test in tests
        }
        files = plan.own[mutant.path]
        own = [test for test in self.seconds if test.partition("::")[0] in files]
        others = covering.difference(own)
        # No test covers a line that only other processes run. Any of its own tests may notice it.
        own = [test for test in own if test in covering] if covering else own
        rounds = (self._fastest(own, _OWN_SECONDS), self._fastest(others, _OTHER_SECONDS))
        return [tests for tests in rounds if tests]

    def _fastest(self, tests: Iterable[str], seconds: float) -> dict[str, float]:
        chosen: dict[str, float] = {}
        for test in sorted(tests, key=lambda test: (self.seconds.get(test, 0), test)):
            if test not in self.seconds:
                continue
            seconds -= self.seconds[test]
            if chosen and seconds < 0:
                break
            chosen[test] = round(START_LIMIT + 10 * self.seconds[test], 1)
        return chosen
