"""The process of one copy of the tree: it forks a child for each job.

It reads jobs as JSON lines from stdin and writes results to stdout. It imports slow packages once,
before the fork, but never the service: each child imports that with its change.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import coverage
import psycopg
import pytest

# Only packages that do not read the settings at import.
_SLOW_TO_IMPORT = """
_hypothesis_pytestplugin asyncssh boto3 botocore.session cryptography.x509 django.contrib.admin
jsonschema libcst msgspec paramiko prometheus_client pytest_django.plugin schemathesis.pytest.plugin
"""
# The limit for everything before the first test: imports, collection, migrations.
_START_SECONDS = 120
_DATABASE = "test_postgres"
# The service delivers nothing from a copied database, so each copy is marked as the original.
_CLAIM = """
UPDATE delivery_instance SET database =
(SELECT system_identifier || '/' || oid FROM PG_CONTROL_SYSTEM(), pg_database
WHERE datname = CURRENT_DATABASE())
"""
_LOG = Path("mutate.log")
_NOTE = Path("mutate.note")


class Selection:
    """A pytest plugin: runs these tests in this order, each with its time limit.

    Afterwards pytest-django moves the tests that empty the database to the end.
    """

    def __init__(self, limits: dict[str, float]) -> None:
        self._limits = limits

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(
        self, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        # Sort before the yield, because pytest-django has to sort last.
        order = {nodeid: place for place, nodeid in enumerate(self._limits)}
        chosen = [item for item in items if item.nodeid in order]
        items[:] = sorted(chosen, key=lambda item: order[item.nodeid])
        return (yield)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        _NOTE.write_text(nodeid)
        # SIGALRM has no handler, so it ends the process wherever it hangs.
        signal.setitimer(signal.ITIMER_REAL, self._limits[nodeid])


class Recorder:
    """A pytest plugin: records the time and the covered lines of each test."""

    def __init__(self, paths: list[str]) -> None:
        self._coverage = coverage.Coverage(data_file=None, include=paths, config_file=False)
        self._began = 0.0
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        self._coverage.start()
        yield
        self._coverage.stop()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if not item.get_closest_marker("long")]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._began = time.monotonic()
        self._coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)
        if report.when == "call" and report.passed:
            self.seconds[report.nodeid] = 0

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if nodeid in self.seconds:
            self.seconds[nodeid] = time.monotonic() - self._began

    def lines(self) -> dict[str, dict[int, list[str]]]:
        """Return the tests that run each line, by path and line."""
        data = self._coverage.get_data()
        found: dict[str, dict[int, list[str]]] = defaultdict(dict)
        for file in data.measured_files():
            for line, contexts in data.contexts_by_lineno(file).items():
                if tests := [context for context in contexts if context in self.seconds]:
                    found[str(Path(file).relative_to(Path.cwd()))][line] = tests
        return found


def main() -> None:
    """Do one job after another until stdin ends."""
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.path.insert(0, "")
    if server := os.environ.get("TEST_POSTGRES_URL"):
        for name in _SLOW_TO_IMPORT.split():
            importlib.import_module(name)
        _make_pristine_database(server)
    for line in sys.stdin:
        job = json.loads(line)
        result = _record(job) if "file" in job else _try(job)
        results.write(json.dumps(result) + "\n")
        results.flush()


def _try(job: dict[str, Any]) -> dict[str, Any]:
    """Run tests against a changed module: `outcome` is killed, survived or timeout."""
    module = Path(job["path"])
    original = module.read_bytes()
    bytecode = Path(importlib.util.cache_from_source(job["path"]))
    module.write_text(job["source"])
    # Python compares only size and second, so it could take the bytecode of another change.
    bytecode.unlink(missing_ok=True)
    _NOTE.write_text("")
    files = list(dict.fromkeys(nodeid.partition("::")[0] for nodeid in job["limits"]))
    try:
        status = _in_child(lambda: _pytest(files, Selection(job["limits"])))
    finally:
        module.write_bytes(original)
        bytecode.unlink(missing_ok=True)
    by = _NOTE.read_text()
    if os.WIFSIGNALED(status):
        is_limit = os.WTERMSIG(status) == signal.SIGALRM
        return {"outcome": "timeout" if is_limit else "killed", "by": by or "the start"}
    code = os.WEXITSTATUS(status)
    if code == pytest.ExitCode.OK:
        return {"outcome": "survived", "by": ""}
    if code == pytest.ExitCode.TESTS_FAILED and by:
        return {"outcome": "killed", "by": by}
    # A module that raises at its import stops pytest before the first test. That counts as killed.
    return {"outcome": "killed", "by": by or "the import", "log": _log()}


def _record(job: dict[str, Any]) -> dict[str, Any]:
    """Run a test file without a change; return the time and the covered lines of each test."""
    result = Path("mutate.baseline")
    result.unlink(missing_ok=True)

    def run() -> int:
        recorder = Recorder(job["paths"])
        with recorder.recording():
            code = _pytest([job["file"]], recorder)
        report = {
            "tests": recorder.seconds,
            "failed": recorder.failed,
            "lines": recorder.lines(),
        }
        result.write_text(json.dumps(report))
        return code

    _in_child(run)
    if not result.exists():
        return {"error": _log()}
    return {"file": job["file"], **json.loads(result.read_text())}


def _log() -> str:
    """Return the end of the last child's output."""
    return _LOG.read_text(errors="replace")[-2000:]


def _pytest(files: list[str], plugin: object) -> int:
    options = ["-q", "-p", "no:cacheprovider", "--no-header"]
    if "TEST_POSTGRES_URL" in os.environ:
        options.append("--reuse-db")
    if isinstance(plugin, Selection):
        options.append("-x")
    # pytest warns that it cannot rewrite plugins that are already imported. They need no rewriting.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*options, *files], plugins=[plugin]))


def _in_child(run: Callable[[], int]) -> int:
    """Run a function in a child with a new database; return its wait status."""
    if server := os.environ.get("TEST_POSTGRES_URL"):
        _renew_database(server)
    return _fork(run)


def _fork(run: Callable[[], int]) -> int:
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            log = os.open(_LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            signal.setitimer(signal.ITIMER_REAL, _START_SECONDS)
            code = run()
        except BaseException:  # noqa: BLE001  # it would end in the exit below
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return status


def _make_pristine_database(server: str) -> None:
    """Migrate a database once. Each child gets a copy of it."""

    def migrate() -> int:
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        import django
        from django.db import connection

        django.setup()
        connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
        return 0

    status = _fork(migrate)
    assert status == 0, _log()
    _execute(server, f"ALTER DATABASE {_DATABASE} RENAME TO pristine")


def _renew_database(server: str) -> None:
    _execute(server, f"DROP DATABASE IF EXISTS {_DATABASE} WITH (FORCE)")
    _execute(server, f"CREATE DATABASE {_DATABASE} TEMPLATE pristine")
    _execute(f"{server.rpartition('/')[0]}/{_DATABASE}", _CLAIM)


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


if __name__ == "__main__":
    main()
