"""The connection test: do what delivery will do, one step at a time."""

import posixpath
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from connectors.dropzone.config import DropzoneConfig
from connectors.dropzone.folder import DropFolder, FileError, NewFile, Reason
from connectors.dropzone.session import file_error, missing, rename_error
from connectors.errors import ConnectorError
from connectors.port import ConnectionReport, TestStep

Opener = Callable[[Callable[[str], None], Callable[[str], None]], DropFolder]


class _Stop(Exception):
    """A step failed: the rest cannot be tried."""


class Probe:
    """One test run. `open_folder` gets two listeners: for connection phases and the host key."""

    def __init__(self, config: DropzoneConfig, open_folder: Opener) -> None:
        self._config = config
        self._open_folder = open_folder
        self._steps: list[TestStep] = []
        self._host_key: str | None = None
        self._phase: str | None = None
        self._began = 0.0

    def run(self) -> ConnectionReport:
        capabilities: dict[str, Any] = {}
        try:
            with self._reached() as folder:
                capabilities["reach_ms"] = sum(step.milliseconds for step in self._steps)
                self._export_folder(folder)
                self._write_and_rename(folder)
                self._ack_folder(folder)
                free = folder.free_bytes(self._config.export_path)
                self._add("free space", "ok", "not told" if free is None else f"{free:,} bytes")
                extensions = getattr(folder, "extensions", None)
                if extensions is not None:
                    capabilities["extensions"] = sorted(extensions)
        except _Stop:
            pass
        return ConnectionReport(
            steps=tuple(self._steps), capabilities=capabilities, host_key=self._host_key
        )

    @contextmanager
    def _reached(self) -> Iterator[DropFolder]:
        try:
            folder = self._open_folder(self._begin, self._saw_host_key)
        except ConnectorError as e:
            self._fail(self._phase or "connect", e)
            raise _Stop from e
        self._end_phase()
        with folder:
            try:
                yield folder
            except ConnectorError as e:
                self._fail(self._phase or "connection", e)
                raise _Stop from e

    def _export_folder(self, folder: DropFolder) -> None:
        with self._step("export folder"):
            if folder.identity(self._config.export_path) is None:
                raise missing(self._config.export_path)
            _names(folder, self._config.export_path)

    def _write_and_rename(self, folder: DropFolder) -> None:
        # Never a .json: an ERP that watches the folder must not take the test for an order.
        name = f".orderflow-test-{secrets.token_hex(4)}.tmp"
        tmp = posixpath.join(self._config.tmp_path or self._config.export_path, name)
        moved = posixpath.join(self._config.export_path, f"{name}.renamed.tmp")
        try:
            with self._step("write and sync"):
                _check(folder.create([NewFile(tmp, b"{}\n" * 1000, unless=moved)]), file_error)
            if self._config.atomic_write:
                with self._step("rename"):
                    _check(folder.rename([(tmp, moved)]), rename_error)
            else:
                self._add("rename", "skipped", "atomic_write is off")
        except _Stop:
            with suppress(ConnectorError):
                folder.remove([tmp, moved])
            raise
        with self._step("delete"):
            gone = folder.remove([tmp, moved])
            _check([f for f in gone if f and f.reason is not Reason.MISSING], file_error)

    def _ack_folder(self, folder: DropFolder) -> None:
        ack_path = self._config.ack_path
        if ack_path is None:
            self._add("ack folder", "skipped", "no ack folder is configured")
            return
        with self._step("ack folder"):
            if folder.identity(ack_path) is None:
                raise missing(ack_path)
            _names(folder, ack_path)

    def _saw_host_key(self, key: str) -> None:
        self._host_key = key

    def _begin(self, phase: str) -> None:
        self._end_phase()
        self._phase, self._began = phase, time.monotonic()

    def _end_phase(self) -> None:
        if self._phase:
            self._add(self._phase, "ok")
            self._phase = None

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self._begin(name)
        try:
            yield
        except ConnectorError as e:
            self._fail(name, e)
            raise _Stop from e
        self._end_phase()

    def _add(self, name: str, outcome: Any, note: str = "") -> None:
        took = round((time.monotonic() - self._began) * 1000) if name == self._phase else 0
        self._steps.append(TestStep(name=name, outcome=outcome, milliseconds=took, note=note))

    def _fail(self, name: str, error: ConnectorError) -> None:
        took = round((time.monotonic() - self._began) * 1000)
        self._phase = None
        self._steps.append(
            TestStep(
                name=name,
                outcome="failed",
                milliseconds=took,
                note=error.message,
                error=error,
            )
        )


def _check(
    results: Sequence[FileError | None], translate: Callable[[FileError], ConnectorError]
) -> None:
    for failure in results:
        if failure:
            raise translate(failure)


def _names(folder: DropFolder, path: str) -> None:
    try:
        next(iter(folder.names(path)), None)
    except FileError as e:
        raise file_error(e) from e
