"""Workers that die, freeze or fail at a failpoint. They are forked from a loaded process.

`python -m tests.support.failing_worker` reads a line for each: ORDERFLOW_FAILPOINT, "deliver" or
"poll", and the id of a connection. It answers with the process id, then with what becomes of it, a
line each: "stopped", or the exit code, negative for a signal.
"""

import ctypes
import importlib
import os
import signal
import subprocess
import sys
from typing import Self
from uuid import UUID

from tests.support.processes import ROOT
from tests.support.servers.process import bound_to_parent

_LIFETIME_SECONDS = 30
_PR_SET_PDEATHSIG = 1


class FailingWorkers:
    """Starts one worker at a time, which does a task on a connection and ends.

    The tasks are "deliver", which archives too, and "poll".
    """

    def __init__(self, env: dict[str, str]) -> None:
        self._env = {**env, "LOG_LEVEL": "CRITICAL"}

    def __enter__(self) -> Self:
        self._nursery = subprocess.Popen(
            [*bound_to_parent(), sys.executable, "-m", "tests.support.failing_worker"],
            cwd=ROOT,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._nursery.communicate()

    def start(self, failpoint: str, connection_id: UUID, task: str = "deliver") -> None:
        assert self._nursery.stdin
        self._nursery.stdin.write(f"{failpoint} {task} {connection_id}\n")
        self._nursery.stdin.flush()
        self._pid = int(self.fate())

    def fate(self) -> str:
        """Wait until it stops or ends."""
        assert self._nursery.stdout
        return self._nursery.stdout.readline().strip()

    def go_on(self) -> str:
        """Let it go on, however often it stops, and return how it ended."""
        fate = "stopped"
        while fate == "stopped":
            os.kill(self._pid, signal.SIGCONT)
            fate = self.fate()
        return fate


def _serve() -> None:
    import django

    django.setup()
    from connectors.dropzone import connector  # noqa: F401  it is found by name otherwise
    from exports.acks.poller import poll
    from exports.delivery import archive, protocol

    for line in sys.stdin:
        armed, task, connection_id = line.split()
        pid = os.fork()
        if pid == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.alarm(_LIFETIME_SECONDS)
            os.environ["ORDERFLOW_FAILPOINT"] = armed
            importlib.reload(sys.modules["kernel.failpoints"])
            try:
                if task == "poll":
                    poll(UUID(connection_id))
                else:
                    protocol.deliver(UUID(connection_id))
                    archive.archive_pending()
            except Exception:
                os._exit(1)
            os._exit(0)
        _tell(pid)
        status = 0x7F
        while os.WIFSTOPPED(status):
            _, status = os.waitpid(pid, os.WUNTRACED)
            _tell("stopped" if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status))


def _tell(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _serve()
