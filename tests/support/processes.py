"""The service's own processes, as in daily life."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers.process import HOST, scratch_folder, spawn

ROOT = Path(__file__).parents[2]


def manage(env: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    """Start a management command; `env` is that of the fixture `child_env`."""
    return subprocess.Popen([sys.executable, "manage.py", *arguments], cwd=ROOT, env=env)


def run(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a management command to its end, whatever its exit code."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def worker(env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that has to end well when it is told to."""
    process = manage(env, "worker")
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(40) == 0


def web(env: dict[str, str], port: int, *options: str) -> subprocess.Popen[bytes]:
    """Start the web server as the image does, with more options for gunicorn; it is ready."""
    command = json.loads((ROOT / "Dockerfile").read_text().rpartition("CMD ")[2])
    own = [f"--bind={HOST}:{port}" if o.startswith("--bind") else o for o in command[1:]]
    return spawn(
        [sys.executable, "-m", command[0], *own, *options],
        log=scratch_folder("web") / "log",
        ready="Booting worker",
        env=env,
        cwd=ROOT,
    )
