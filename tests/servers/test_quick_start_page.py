"""The quick start, copied into shells: from a checkout alone to an order that the ERP has taken."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from tests.support.servers.process import free_port
from tests.support.waiting import until

PAGE = (ROOT / "docs/quick-start.md").read_text()
INSTALL, DEMO, RUN, *ORDER = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
PACKAGES = re.findall(r" ([a-z][a-z0-9-]+)\b", INSTALL[INSTALL.index("recommends") :])
# Where they are installed nothing is downloaded.
APT = f'apt-get() {{ dpkg --status {" ".join(PACKAGES)} &>/dev/null || command apt-get "$@"; }}\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What git has of this project, in a folder of its own, with its packages installed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    folder = tmp_path / "orderflow"
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").mkdir()
    for part in Path(sys.prefix).iterdir():
        (folder / ".venv" / part.name).symlink_to(part)
    (folder / ".venv/installed").unlink(missing_ok=True)
    (folder / ".venv/installed").touch()
    return folder


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment without the settings of this run: the page creates its own."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "ACK_POLL_INTERVAL_SECONDS": "1",
    }


def shell(script: str, folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input=script,
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(script: str, folder: Path, env: dict[str, str], *, port: int) -> Iterator[None]:
    """A shell of its own, until Ctrl-C."""
    log = folder / "run.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until(lambda: answers(port) or process.poll() is not None, seconds=60)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)


def test_from_a_checkout_to_an_acknowledged_order(
    checkout: Path, env: dict[str, str], curl_and_jq: None
) -> None:
    if shutil.which("apt-get") and os.geteuid() == 0:
        shell(APT + INSTALL, checkout, env)
    promised = re.findall(r"^    (demo: .*)$", PAGE, re.MULTILINE)
    assert shell(DEMO, checkout, env).splitlines()[-1:] == promised

    port = free_port()
    assert RUN.strip() == "make run" and f"`{RUN.strip()} PORT=8080`" in PAGE
    with running(f"make run PORT={port}", checkout, env, port=port):
        script = "".join(ORDER).replace("http://127.0.0.1:8000", f"http://127.0.0.1:{port}")
        told = shell(script, checkout, env)
    assert '"APPROVED"' in told
    assert '"erp_order_id": "SO-' in told
