"""A simulated ERP: it takes order files from one folder and writes acks to another, by a script."""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

import msgspec

from simulator.script import AckFile, Document, Order, Script

# Never a *.tmp, which is nobody's yet, nor an answer, which may lie in the same folder.
_MASK = "sales_order_*.json"
_PIECES = 10

# Yields the seconds to wait before it goes on.
Steps = Generator[float, None, None]


class ErpSimulator:
    """Works in a thread while its `with` block lasts, or step by step as `round` is called.

    `home` is a folder of its own, on the file system of `exports`. A file is moved to
    `home/taken`, its position in front of its name, before it is read, and on to `home/answered`
    once its answer is complete. So an ERP that starts again, even after a kill, goes on where it
    was; an answer that was not complete is given anew, with the same number.

    What goes wrong in the thread is raised at the end of the block.
    """

    def __init__(
        self,
        *,
        exports: Path,
        acks: Path,
        script: Script | None = None,
        home: Path | None = None,
        interval: float = 0.1,
        report: Callable[[str], object] = lambda line: None,
    ) -> None:
        home = home or exports.parent / "erp"
        self._exports = exports
        self._acks = acks
        self._taken = home / "taken"
        self._answered = home / "answered"
        self._script = script or Script.load()
        self._interval = interval
        self._report = report
        self._stop = threading.Event()
        for folder in (self._taken, self._answered):
            folder.mkdir(parents=True, exist_ok=True)
        unanswered = _orders(self._taken)
        #: All that was ever taken.
        self.orders = sorted(unanswered + _orders(self._answered), key=lambda o: o.position)
        # Answers that are not complete, and when each goes on.
        self._open = [(0.0, self._answer(order)) for order in unanswered]

    def __enter__(self) -> Self:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="erp")
        self._work = self._thread.submit(self.run, self._stop)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.shutdown()
        self._work.result()

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop; answers that are not complete wait for the next start."""
        try:
            self.round()
            while not stop.wait(self._interval):
                self.round()
        finally:
            for _, steps in self._open:
                steps.close()

    def round(self) -> None:
        """Take what lies there, then go on with every answer that is due."""
        self._take()
        now = time.monotonic()
        waiting = []
        for due, steps in self._open:
            if due > now:
                waiting.append((due, steps))
            elif (pause := next(steps, None)) is not None:
                waiting.append((now + pause, steps))
        self._open = waiting

    def _take(self) -> None:
        for name in sorted(entry.name for entry in os.scandir(self._exports) if _is_order(entry)):
            position = self.orders[-1].position + 1 if self.orders else 1
            mine = self._taken / f"{position:06}_{name}"
            try:
                (self._exports / name).rename(mine)
            except FileNotFoundError:
                # Somebody else was quicker.
                continue
            order = _read(mine)
            self.orders.append(order)
            self._open.append((0.0, self._answer(order)))
            self._report(f"took {name}: {order}")

    def _answer(self, order: Order) -> Steps:
        rule = self._script.rule_for(order)
        if rule.delay:
            yield rule.delay
        for file in rule.files(order):
            if file.after:
                yield file.after
            if file.over:
                yield from self._grow(file)
            else:
                self._put(file)
            self._report(f"wrote {file.name}")
        mine = f"{order.position:06}_{order.filename}"
        (self._taken / mine).rename(self._answered / mine)

    def _put(self, file: AckFile) -> None:
        tmp = self._acks / f"{file.name}.tmp"
        tmp.write_bytes(file.content)
        tmp.replace(self._acks / file.name)

    def _grow(self, file: AckFile) -> Steps:
        # The file stays open, so that it grows on even if it is moved meanwhile.
        with (self._acks / file.name).open("wb", buffering=0) as growing:
            size = len(file.content) // _PIECES + 1
            for start in range(0, len(file.content), size):
                if start:
                    yield file.over / (_PIECES - 1)
                growing.write(file.content[start : start + size])


def _is_order(entry: "os.DirEntry[str]") -> bool:
    return fnmatchcase(entry.name, _MASK) and entry.is_file(follow_symlinks=False)


def _orders(folder: Path) -> list[Order]:
    return [_read(path) for path in sorted(folder.iterdir())]


def _read(path: Path) -> Order:
    position, _, filename = path.name.partition("_")
    content = path.read_bytes()
    try:
        document = msgspec.json.decode(content, type=Document)
    except (ValueError, RecursionError):
        document = None
    return Order(
        position=int(position),
        filename=filename,
        sha256=hashlib.sha256(content).hexdigest(),
        document=document,
    )
