"""The service's own processes, as in daily life."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent


def manage(env: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    """Start a management command; `env` is that of the fixture `child_env`."""
    return subprocess.Popen([sys.executable, "manage.py", *arguments], cwd=ROOT, env=env)


@contextmanager
def worker(env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that has to end well when it is told to."""
    process = manage(env, "worker")
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(40) == 0
