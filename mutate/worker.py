"""The process of one copy of the tree: it forks a child for each job and never imports the code.

Jobs come as JSON lines on stdin, answers go to stdout. What takes long to import is imported before
the fork, of other packages only: each child imports the service anew, with its change.
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

# None that reads the settings when it is imported.
_SLOW_TO_IMPORT = """
_hypothesis_pytestplugin asyncssh boto3 botocore.session cryptography.x509 django.contrib.admin
jsonschema libcst msgspec paramiko prometheus_client pytest_django.plugin schemathesis.pytest.plugin
"""
# Until the first test begins: imports, collection, the migrations of a new database.
_START_SECONDS = 120
_DATABASE = "test_postgres"
# A copied database would know itself for one, and deliver nothing.
_CLAIM = """
UPDATE delivery_instance SET database =
(SELECT system_identifier || '/' || oid FROM PG_CONTROL_SYSTEM(), pg_database
WHERE datname = CURRENT_DATABASE())
"""
_LOG = Path("mutate.log")
_NOTE = Path("mutate.note")


class Selection:
    """A pytest plugin: run these tests in this order, and none for longer than its limit.

    pytest-django sorts after it: those that empty the database come last.
    """

    def __init__(self, limits: dict[str, float]) -> None:
        self._limits = limits

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(
        self, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        # Before the yield, so that pytest-django sorts what is in order here.
        order = {nodeid: place for place, nodeid in enumerate(self._limits)}
        chosen = [item for item in items if item.nodeid in order]
        items[:] = sorted(chosen, key=lambda item: order[item.nodeid])
        return (yield)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        _NOTE.write_text(nodeid)
        # Python's default: the signal ends the process, wherever it hangs.
        signal.setitimer(signal.ITIMER_REAL, self._limits[nodeid])


class Recorder:
    """A pytest plugin: note how long each test takes and which lines it runs."""

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
        """By path and line: the tests that run it."""
        data = self._coverage.get_data()
        found: dict[str, dict[int, list[str]]] = defaultdict(dict)
        for file in data.measured_files():
            for line, contexts in data.contexts_by_lineno(file).items():
                if tests := [context for context in contexts if context in self.seconds]:
                    found[str(Path(file).relative_to(Path.cwd()))][line] = tests
        return found


def main() -> None:
    """Answer each job until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.path.insert(0, "")
    if server := os.environ.get("TEST_POSTGRES_URL"):
        for name in _SLOW_TO_IMPORT.split():
            importlib.import_module(name)
        _make_pristine_database(server)
    for line in sys.stdin:
        job = json.loads(line)
        answer = _record(job) if "file" in job else _try(job)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _try(job: dict[str, Any]) -> dict[str, Any]:
    """Run tests against a changed module: `outcome` is killed, survived or timeout."""
    module = Path(job["path"])
    original = module.read_bytes()
    bytecode = Path(importlib.util.cache_from_source(job["path"]))
    module.write_text(job["source"])
    # Two changes may have the same size and second, and Python compares no more.
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
    # A module that raises when it is imported stops everything: killed, but by no test.
    return {"outcome": "killed", "by": by or "the import", "log": _log()}


def _record(job: dict[str, Any]) -> dict[str, Any]:
    """Run a file of tests without any change; answer what each of them takes and runs."""
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
    """The end of what the last child wrote."""
    return _LOG.read_text(errors="replace")[-2000:]


def _pytest(files: list[str], plugin: object) -> int:
    options = ["-q", "-p", "no:cacheprovider", "--no-header"]
    if "TEST_POSTGRES_URL" in os.environ:
        options.append("--reuse-db")
    if isinstance(plugin, Selection):
        options.append("-x")
    # Assertions of plugins that are imported already are not rewritten, and need not be.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*options, *files], plugins=[plugin]))


def _in_child(run: Callable[[], int]) -> int:
    """Run something in a child with a new database; return its wait status."""
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
    """Migrate a database once; each child gets a copy of it."""

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
