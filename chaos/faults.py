"""Faults inside a worker: between two steps, in the middle of a write, at a commit.

A kill from outside mostly hits a worker that logs in or waits. These faults hit the moments at
which a crash could lose or double an order.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import paramiko
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

from connectors.dropzone.sftp.pipeline import Pipeline
from exports.delivery import protocol

_NAP_SECONDS = 0.4


class Faults:
    """Injects faults with a given chance: mostly SIGKILL, else SIGSTOP or a short sleep.

    `only`: the one moment at which to inject faults; empty: all moments. Before each kill, a line
    with its moment is added to `history`.
    """

    def __init__(self, *, seed: int, chance: float, only: str, history: Path) -> None:
        self._random = random.Random(seed)
        self._chance = chance
        self._only = only
        self._history = os.open(history, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)

    def __call__(self, moment: str, *, share: float = 1) -> None:
        if self.is_due(moment, share):
            self.inject(moment)

    def is_due(self, moment: str, share: float = 1) -> bool:
        return self._only in ("", moment) and self._random.random() < self._chance * share

    def inject(self, moment: str) -> None:
        """Kill, stop or delay this process. After a stop or a delay it goes on."""
        what = self._random.choices(("kill", "stop", "nap"), (7, 2, 1))[0]
        if what == "kill":
            os.write(self._history, f"{moment}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            time.sleep(self._random.uniform(0, _NAP_SECONDS))

    def install(self) -> None:
        """Put the moments into the code of this process. There is no way back."""
        protocol.failpoint = self  # type: ignore[assignment,attr-defined]
        _wrap(paramiko.Channel, "sendall", self._torn_send)
        # The server answers each request, so this moment is much more frequent than the others.
        _wrap(Pipeline, "_read_packet", partial(self._around, "answer", share=0.1))
        for name in ("rename", "unlink", "fsync"):
            _wrap(os, name, partial(self._around, name))
        _wrap(os, "fdopen", self._torn_file)
        _wrap(BaseDatabaseWrapper, "_commit", self._lost_commit)

    def _around(self, name: str, do: Callable[..., Any], *, share: float = 1) -> Callable[..., Any]:
        def with_faults(*args: Any, **kwargs: Any) -> Any:
            self(f"before {name}", share=share)
            result = do(*args, **kwargs)
            self(f"after {name}", share=share)
            return result

        return with_faults

    def _torn_send(self, do: Callable[..., Any]) -> Callable[..., Any]:
        def sendall(channel: paramiko.Channel, data: bytes) -> None:
            if self.is_due("half a burst sent"):
                cut = self._random.randrange(len(data) + 1)
                do(channel, data[:cut])
                self.inject("half a burst sent")
                data = data[cut:]
            do(channel, data)

        return sendall

    def _torn_file(self, do: Callable[..., Any]) -> Callable[..., Any]:
        def fdopen(descriptor: int, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if mode == "wb" and self.is_due("half a file written"):
                # Write the first bytes of every document. A worker that is not killed here seeks
                # back and writes the whole document over them.
                os.write(descriptor, b'{"export_version"')
                self.inject("half a file written")
                os.lseek(descriptor, 0, os.SEEK_SET)
            return do(descriptor, mode, *args, **kwargs)

        return fdopen

    def _lost_commit(self, do: Callable[..., Any]) -> Callable[..., Any]:
        def commit(wrapper: BaseDatabaseWrapper) -> None:
            self("before commit", share=0.5)
            do(wrapper)
            if self.is_due("lost answer", 0.3):
                wrapper.connection.close()
                raise OperationalError("chaos: the answer to COMMIT was lost")
            self("after commit", share=0.5)

        return commit


def _wrap(owner: Any, name: str, wrapper: Callable[[Callable[..., Any]], Any]) -> None:
    setattr(owner, name, wrapper(getattr(owner, name)))
