"""Ports, folders and child processes that never outlive the test run."""

import contextlib
import functools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

HOST = "127.0.0.1"

# Reads until every process that holds the other end of the pipe is gone, then removes the folder.
_REMOVER = 'cat >/dev/null; for n in 1 2 3 4 5 6 7 8 9; do rm -rf "$0" && exit; sleep 1; done'
_removers: list[subprocess.Popen[bytes]] = []
_given_ports: set[int] = set()


def free_port() -> int:
    """Return a free loopback port below the range the kernel gives to outgoing connections.

    So a server that is down finds its port free again, and a client that dials it meanwhile is
    not connected to itself. None is given twice: it may be some time until its server listens.
    """
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        if port in _given_ports:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            _given_ports.add(port)
            return port


@functools.cache
def _base_folder() -> Path:
    base = Path(tempfile.mkdtemp(prefix="test-servers-"))
    # Another system user (PostgreSQL's) must be able to reach its folder in here.
    base.chmod(0o711)
    remover = subprocess.Popen(
        ["/bin/sh", "-c", _REMOVER, str(base)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    remover.returncode = 0  # it outlives this process: nobody is to wait for it
    _removers.append(remover)
    return base


def scratch_folder(name: str) -> Path:
    """Make a folder that is removed when this process and its forks end, however they end."""
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=_base_folder()))


def bound_to_parent(
    *, user: pwd.struct_passwd | None = None, death_signal: str = "KILL"
) -> list[str]:
    """Return the command prefix with which the kernel signals a child when its parent is gone.

    The parent is the *thread* that starts the child: start servers from the main thread.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    as_user = []
    if user is not None:
        as_user = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [setpriv, *as_user, f"--pdeathsig={death_signal}", "--"]


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    ready: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server and return once its log, begun anew, contains `ready`.

    Raises RuntimeError with the log when the server ends or stays silent for 30 seconds.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            # Ctrl-C in the terminal is for pytest alone.
            start_new_session=True,
        )
    deadline = time.monotonic() + 30
    while ready not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            kill_tree(process)
            raise RuntimeError(f"server did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.005)
    return process


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a process and all its descendants, and wait until they are gone."""
    if process.poll() is not None:
        return
    # Stopped first: it must not start another child between the listing and the kill.
    os.kill(process.pid, signal.SIGSTOP)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()
    while any(_is_alive(child) for child in children):
        time.sleep(0.005)


def _is_alive(process: psutil.Process) -> bool:
    # An orphan may stay a zombie until init finds the time; it holds nothing any more.
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
