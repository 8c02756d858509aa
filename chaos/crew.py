"""The processes of a run: the generator, the ERP, and workers that are killed and replaced."""

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
from chaos.generator import push_orders
from chaos.plan import Plan
from chaos.worker import LIFETIME_SECONDS, work

_LONGEST_STOP = 2.5
_PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class _Worker:
    process: ForkServerProcess
    started_at: float
    continues_at: float | None = None  # set while the worker is stopped


class Crew:
    """Keeps `plan.workers` workers running.

    `kills` and `stops` count the faults, `crashed` the processes that ended with an error.
    """

    def __init__(self, plan: Plan, slugs: list[str], folders: list[Path], notes: Path) -> None:
        self._plan = plan
        self._chance = random.Random(plan.seed)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["chaos.fixtures"])
        self._workers: list[_Worker] = []
        self._started = 0
        self.kills = self.stops = self.crashed = 0
        self.history, self.ledger, self.record = (
            notes / n for n in ("history", "ledger", "record")
        )
        for path in (self.history, self.ledger, self.record):
            path.touch()
        self._erp = self._start(consume, folders, self.record, plan.seed)
        while not self.record.read_text():
            time.sleep(0.01)
        self._generator = self._start(push_orders, plan, slugs, self.ledger)

    def supervise(self, *, with_faults: bool = True) -> None:
        """Replace dead workers, continue stopped ones in time, kill those past their lifetime."""
        now = time.monotonic()
        for worker in list(self._workers):
            code = worker.process.exitcode
            if code is not None:
                self._workers.remove(worker)
                self.kills += code == -signal.SIGKILL
                self.crashed += code != -signal.SIGKILL
            elif worker.continues_at is not None:
                if now >= worker.continues_at:
                    worker.continues_at = None
                    os.kill(worker.process.pid or 0, signal.SIGCONT)
            elif _is_stopped(worker.process):
                # Counted here only: a worker may stop itself, or be stopped by stop_one().
                self.stops += 1
                worker.continues_at = now + self._chance.uniform(0, _LONGEST_STOP)
            if with_faults and now - worker.started_at > LIFETIME_SECONDS:
                worker.process.kill()
        while len(self._workers) < self._plan.workers:
            self._started += 1
            arguments = (self._plan, self._started, self.history)
            process = self._start(work, *arguments, with_faults=with_faults)
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

    def end_generator(self) -> None:
        """Let the generator finish its current order. After that, no order is pushed."""
        self._generator.terminate()
        self._generator.join()
        self.crashed += self._generator.exitcode != 0

    def kill_workers(self) -> None:
        """Kill all workers. These kills are not counted."""
        for worker in self._workers:
            worker.process.kill()
            worker.process.join()
        self._workers.clear()

    def end(self) -> None:
        """Kill all processes of the run."""
        self.kill_workers()
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
    """Run `target` in a process that the kernel kills when the fork server ends.

    The fork server ends with the harness, so no process outlives a run, not even a stopped one.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    target(*arguments, **options)


def _is_stopped(process: ForkServerProcess) -> bool:
    try:
        return bool(psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False
