"""Copies of the tree, each with a worker and a PostgreSQL, so that the checkout is not changed."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.support.servers import Postgres
from tests.support.servers.process import kill_tree

_LEFT_OUT = shutil.ignore_patterns(".*", "var", "__pycache__", "staticfiles", "secrets")
# A change of these files does not make earlier results invalid.
_NOT_TRIED = ("bench/", "chaos/", "deploy/", "docs/", "mutate/plan.toml")
_OF_TESTS = ("PYTEST", "DJANGO", "DATABASE_URL", "TEST_")
# The folder of `mutate` itself, for a tree without it.
_HERE = Path(__file__).parent.parent


class Copy:
    """One copy and its worker, which does one job at a time."""

    def __init__(self, worker: "subprocess.Popen[bytes]") -> None:
        self._worker = worker

    def do(self, job: dict[str, Any]) -> dict[str, Any]:
        """Send a job to the worker and return its result. Raises RuntimeError."""
        assert self._worker.stdin and self._worker.stdout
        self._worker.stdin.write(json.dumps(job).encode() + b"\n")
        self._worker.stdin.flush()
        line = self._worker.stdout.readline()
        if not line:
            raise RuntimeError("the worker of a copy has ended")
        result = dict(json.loads(line))
        if "error" in result:
            raise RuntimeError(f"pytest could not run: {result['error']}")
        return result


@contextmanager
def copies(root: Path, count: int) -> Iterator[Sequence[Copy]]:
    """Make copies of a tree. Their processes end and they are deleted with the block."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mutate-"))
        yield [stack.enter_context(_copy(root, Path(folder, str(n)))) for n in range(count)]


@contextmanager
def _copy(root: Path, folder: Path) -> Iterator[Copy]:
    shutil.copytree(root, folder, ignore=_LEFT_OUT)
    # Remove the settings of a test that starts this run: the copy has its own.
    env = {name: value for name, value in os.environ.items() if not name.startswith(_OF_TESTS)}
    env["PYTHONPATH"] = os.pathsep.join([str(folder), str(_HERE)])
    with ExitStack() as stack:
        if (folder / "manage.py").exists():
            env["TEST_POSTGRES_URL"] = stack.enter_context(Postgres()).url
        worker = subprocess.Popen(
            [sys.executable, "-m", "mutate.worker"],
            cwd=folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C must reach only the process that records the results.
            start_new_session=True,
        )
        try:
            yield Copy(worker)
        finally:
            kill_tree(worker)
            for pipe in (worker.stdin, worker.stdout):
                assert pipe
                pipe.close()


def tree_hash(root: Path, test_files: Collection[str]) -> str:
    """Return a hash of the code and these tests. Results are valid only for the same hash."""
    digest = hashlib.sha256()
    for path in sorted(_files(root)):
        name = path.relative_to(root).as_posix()
        is_other = name.startswith(_NOT_TRIED) or path.suffix == ".md"
        is_other_test = path.name.startswith("test_") and name not in test_files
        if not is_other and not is_other_test:
            digest.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        left_out = _LEFT_OUT(folder, [*folders, *names])
        folders[:] = [name for name in folders if name not in left_out]
        yield from (Path(folder, name) for name in names if name not in left_out)
