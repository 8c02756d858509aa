"""The real parts that tests use, and the account of which a whole run exercised.

`pytest --real-parts` says at the end which of them no test has used; with CI set in the
environment a missing one fails the run.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import (
    AsyncSSHServer,
    Faults,
    OpenSSHServer,
    PgBouncer,
    ProFTPDServer,
    S3Server,
    postgres,
)
from tests.support.servers import openssh as sshd
from tests.support.servers import pgbouncer as bouncer
from tests.support.servers import proftpd as proftpd_server

# Part -> what to do when it is missing. A fixture notes its part when a test gets it.
REAL_PARTS = {
    "PostgreSQL": "run without TEST_DATABASE=sqlite",
    "PgBouncer": "install pgbouncer",
    "OpenSSH": "install openssh-server",
    "ProFTPD": "install proftpd-core and proftpd-mod-crypto, and run as root",
    "strace": "install strace",
    "faketime": "install faketime",
    "openssl": "install openssl and openssh-client",
    "curl and jq": "install curl and jq",
    "systemd-analyze": "install systemd",
    "asyncssh": "install requirements-dev.txt",
    "S3": "install requirements-dev.txt",
    "Chromium": "install chromium",
}
_exercised: set[str] = set()


def exercised(part: str) -> None:
    _exercised.add(part)


@pytest.fixture
def pgbouncer() -> type[PgBouncer]:
    """What starts a PgBouncer in front of the PostgreSQL of a URL."""
    if not bouncer.available():
        pytest.skip("no PgBouncer is installed")
    _exercised.add("PgBouncer")
    return PgBouncer  # type: ignore[no-any-return]  # loaded on use


# The servers live as long as the run; each test finds their folders as new.
@pytest.fixture(scope="session")
def _openssh() -> Iterator[OpenSSHServer]:
    if not sshd.available():
        pytest.skip("no OpenSSH server is installed")
    with OpenSSHServer() as server:
        yield server


@pytest.fixture(scope="session")
def _openssh_plain_rename() -> Iterator[OpenSSHServer]:
    with OpenSSHServer(sftp_server_args=["-P", "posix-rename"]) as server:
        yield server


@pytest.fixture
def openssh(_openssh: OpenSSHServer) -> OpenSSHServer:
    """OpenSSH's sshd. A test that restarts it with other options starts one of its own."""
    _exercised.add("OpenSSH")
    _empty(_openssh.root)
    return _openssh


@pytest.fixture
def proftpd() -> Callable[..., ProFTPDServer]:
    """ProFTPDServer, for a test that starts one with options of its own."""
    if not proftpd_server.available():
        pytest.skip("no ProFTPD is installed")
    _exercised.add("ProFTPD")
    return ProFTPDServer  # type: ignore[no-any-return]  # loaded on use


@pytest.fixture
def breakable(openssh: OpenSSHServer) -> None:
    """Promise that an OpenSSH server's system calls can be `injected` with faults."""
    if not sshd.breakable():
        pytest.skip("no strace is installed")
    _exercised.add("strace")


@pytest.fixture
def faketime() -> str:
    """The program that gives another one a wrong clock."""
    program = shutil.which("faketime")
    if program is None:
        pytest.skip("no faketime is installed")
    _exercised.add("faketime")
    return program


@pytest.fixture(scope="session")
def key_programs() -> None:
    """Promise that the programs are there with which people make and convert keys."""
    if not shutil.which("openssl") or not shutil.which("ssh-keygen"):
        pytest.skip("no openssl or ssh-keygen is installed")
    _exercised.add("openssl")


@pytest.fixture
def curl_and_jq() -> None:
    """Promise that the programs are there with which the page about the API goes through it."""
    if not shutil.which("curl") or not shutil.which("jq"):
        pytest.skip("no curl or jq is installed")
    _exercised.add("curl and jq")


@pytest.fixture
def systemd_analyze() -> str:
    """The program that says what systemd would make of a unit."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd is installed")
    _exercised.add("systemd-analyze")
    return program


@pytest.fixture(scope="session")
def _asyncssh_server() -> Iterator[AsyncSSHServer]:
    with AsyncSSHServer() as server:
        yield server


@pytest.fixture
def asyncssh_server(_asyncssh_server: AsyncSSHServer) -> Iterator[AsyncSSHServer]:
    """A second SFTP server, without faults until the test sets some."""
    _exercised.add("asyncssh")
    _empty(_asyncssh_server.root)
    _asyncssh_server.operations.clear()
    _asyncssh_server.auth_attempts.clear()
    yield _asyncssh_server
    _asyncssh_server.faults = Faults()


@pytest.fixture(scope="session")
def _s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def s3(_s3: S3Server) -> S3Server:
    _exercised.add("S3")
    return _s3


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """The name of a new, empty bucket."""
    name = f"test-{uuid.uuid4().hex}"
    s3.create_bucket(name)
    return name


# By module: while it runs, no other test of the module can start an event loop of its own.
@pytest.fixture(scope="module")
def _browser() -> Iterator[Any]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright keeps an event loop in this thread, and Django would refuse to query here.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(
            executable_path=program,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(_browser: Any) -> Iterator[Any]:
    """A page in a fresh profile of Chromium: playwright.sync_api.Page."""
    _exercised.add("Chromium")
    context = _browser.new_context()
    context.set_default_timeout(30_000)
    yield context.new_page()
    context.close()


def _empty(root: Path) -> None:
    for path in root.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name in ("exports", "acks"):
        (root / name).mkdir()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-parts", action="store_true", help="account for the real parts at the end"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means: one more than there are processors, for tests often wait."""
    return (os.cpu_count() or 1) + 1


# With -n each process has a PostgreSQL of its own too: an outage in one test, or a transaction that
# stays open for long, concerns no other.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    postgres.stop()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _exercised.update(getattr(node, "workeroutput", {}).get("real_parts", ()))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["real_parts"] = list(_exercised)
    elif _missing(session.config) and os.environ.get("CI") and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for part in _missing(config):
        terminalreporter.write_sep("!", f"NOT EXERCISED: {part} ({REAL_PARTS[part]})", red=True)


def _missing(config: pytest.Config) -> list[str]:
    if not config.getoption("real_parts"):
        return []
    return [part for part in REAL_PARTS if part not in _exercised]
