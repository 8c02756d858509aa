"""The processes of a run: workers that die, freeze and are replaced; the generator and the ERP."""

import ctypes
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import psutil

from chaos.erp import consume
from chaos.generator import push_in_a_trickle
from chaos.plan import Plan
from chaos.worker import LIFETIME_SECONDS, work

_LONGEST_STOP = 2.5
_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class _Worker:
    process: ForkServerProcess
    born: float
    continues: float | None = None  # when a stopped one goes on


class Crew:
    """Keeps `plan.workers` workers going; counts `kills`, `stops` and those that `crashed`."""

    def __init__(self, plan: Plan, slugs: list[str], folders: list[Path], notes: Path) -> None:
        self._plan = plan
        self._chance = random.Random(plan.seed)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["chaos.fixtures"])
        self._workers: list[_Worker] = []
        self._born = 0
        self.kills = self.stops = self.crashed = 0
        self.history, self.ledger, self.record = (
            notes / n for n in ("history", "ledger", "record")
        )
        for path in (self.history, self.ledger, self.record):
            path.touch()
        self._erp = self._start(consume, folders, self.record, plan.seed)
        while not self.record.read_text():
            time.sleep(0.01)
        self._generator = self._start(push_in_a_trickle, plan, slugs, self.ledger)

    def tend(self, *, is_struck: bool = True) -> None:
        """Replace the dead, wake those that were stopped long enough, end those of old age."""
        now = time.monotonic()
        for worker in list(self._workers):
            code = worker.process.exitcode
            if code is not None:
                self._workers.remove(worker)
                self.kills += code == -signal.SIGKILL
                self.crashed += code != -signal.SIGKILL
            elif worker.continues is not None:
                if now >= worker.continues:
                    worker.continues = None
                    os.kill(worker.process.pid or 0, signal.SIGCONT)
            elif _is_stopped(worker.process):
                # By itself or by us: seen only here.
                self.stops += 1
                worker.continues = now + self._chance.uniform(0, _LONGEST_STOP)
            if is_struck and now - worker.born > LIFETIME_SECONDS:
                worker.process.kill()
        while len(self._workers) < self._plan.workers:
            self._born += 1
            arguments = (self._plan, self._born, self.history)
            process = self._start(work, *arguments, is_struck=is_struck)
            self._workers.append(_Worker(process, now))

    @property
    def pids(self) -> list[int]:
        return [worker.process.pid or 0 for worker in self._workers]

    def kill_one(self) -> None:
        self._chance.choice(self._workers).process.kill()

    def stop_one(self) -> None:
        worker = self._chance.choice(self._workers)
        with suppress(ProcessLookupError):
            os.kill(worker.process.pid or 0, signal.SIGSTOP)

    def close_the_office(self) -> None:
        """Let the generator finish the order at hand; nothing is pushed any more."""
        self._generator.terminate()
        self._generator.join()
        self.crashed += self._generator.exitcode != 0

    def dismiss(self) -> None:
        """Kill all workers; these kills are not counted."""
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()
        self._workers.clear()

    def end(self) -> None:
        """Kill everybody."""
        self.dismiss()
        for process in (self._generator, self._erp):
            process.kill()
            process.join()

    def _start(
        self, target: Callable[..., None], *arguments: object, **options: object
    ) -> ForkServerProcess:
        process = self._context.Process(
            target=_bound, args=(target, *arguments), kwargs=options, daemon=True
        )
        process.start()
        return process


def _bound(target: Callable[..., None], *arguments: object, **options: object) -> None:
    """Run what must not outlive the fork server, and with it the harness, not even stopped."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    target(*arguments, **options)


def _is_stopped(process: ForkServerProcess) -> bool:
    try:
        return bool(psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False
