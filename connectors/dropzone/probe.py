"""The connection test: do what delivery will do, one step at a time."""

import posixpath
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from connectors.dropzone.ack_folder import ACK_FOLDERS
from connectors.dropzone.config import DropzoneConfig
from connectors.dropzone.failures import file_error, missing, rename_error
from connectors.dropzone.folder import DropFolder, FileError, NewFile, Reason, Stat
from connectors.errors import ConnectorError
from connectors.port import ConnectionReport, ReportStep

Opener = Callable[[Callable[[str], None], Callable[[str], None]], DropFolder]

_CONTENT = b"{}\n" * 1000
_CLOCK_SECONDS = 3  # less is the time that the test itself takes


class _Stop(Exception):
    """A step failed: the rest cannot be tried."""


class Probe:
    """One test run. `open_folder` gets two listeners: for connection phases and the host key."""

    def __init__(
        self,
        config: DropzoneConfig,
        open_folder: Opener,
        on_step: Callable[[ReportStep], None] | None = None,
    ) -> None:
        self._config = config
        self._open_folder = open_folder
        self._on_step = on_step
        self._steps: list[ReportStep] = []
        self._capabilities: dict[str, Any] = {}
        self._host_key: str | None = None
        self._phase: str | None = None
        self._began = 0.0
        self._note = ""
        # What was created and not yet removed.
        self._left: list[str] = []

    def run(self) -> ConnectionReport:
        try:
            with self._reached() as folder:
                self._capabilities["reach_ms"] = sum(step.milliseconds for step in self._steps)
                self._export_folder(folder)
                self._write_and_rename(folder)
                self._ack_folder(folder)
                free = folder.free_bytes(self._config.export_path)
                self._add(
                    "free space", "ok", "not told" if free is None else f"{free // 1_000_000:,} MB"
                )
                extensions = getattr(folder, "extensions", None)
                if extensions is not None:
                    self._capabilities["extensions"] = sorted(extensions)
        except _Stop:
            self._clean_up()
        return ConnectionReport(
            steps=tuple(self._steps), capabilities=self._capabilities, host_key=self._host_key
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
            _list(folder, self._config.export_path)

    def _write_and_rename(self, folder: DropFolder) -> None:
        staging = self._config.tmp_path or self._config.export_path
        first, second = self._name(staging), self._name(staging)
        target = self._name(self._config.export_path)
        with self._step("write and sync"):
            self._create(folder, first, unless=target)
        self._clock(folder, first)
        if self._config.atomic_write:
            with self._step("rename"):
                self._left.append(target)
                _check(folder.rename([(first, target)]), rename_error)
            self._create(folder, second, unless=first)
            with self._step("rename without overwrite"):
                # Names are unique, so that nothing hangs on it: it is good to know, no more.
                (refused,) = folder.rename([(second, target)])
                self._capabilities["rename_replaces"] = refused is None
                self._note = "refused" if refused else "replaces a file that is there"
        else:
            self._add("rename", "skipped", "atomic_write is off")
        with self._step("delete"):
            self._remove(folder)

    def _clock(self, folder: DropFolder, path: str) -> None:
        with self._step("clock"):
            (found,) = folder.lstat([path])
            if not isinstance(found, Stat) or found.modified_at is None:
                self._note = "not told"
                return
            ahead = round(found.modified_at - time.time())
            # Never used to decide anything: whoever compares times of both sides has to know it.
            if abs(ahead) >= _CLOCK_SECONDS:
                self._note = f"{abs(ahead)} s {'ahead' if ahead > 0 else 'behind'}"

    def _ack_folder(self, folder: DropFolder) -> None:
        ack_path = self._config.ack_path
        if ack_path is None:
            self._add("ack folder", "skipped", "no ack folder is configured")
            return
        with self._step("ack folder"):
            if folder.identity(ack_path) is None:
                raise missing(ack_path)
            _list(folder, ack_path)
        for name in ACK_FOLDERS:
            with self._step(f"{name}/"):
                place = posixpath.join(ack_path, name)
                if folder.identity(place) is None:
                    _check([folder.make(place)], file_error)
                path = self._name(place)
                self._create(folder, path, unless=f"{path}.other")
                self._remove(folder)

    def _name(self, folder: str) -> str:
        # Never a .json: an ERP that watches the folder must not take the test for an order.
        return posixpath.join(folder, f".orderflow-test-{secrets.token_hex(4)}.tmp")

    def _create(self, folder: DropFolder, path: str, *, unless: str) -> None:
        self._left.append(path)
        _check(folder.create([NewFile(path, _CONTENT, unless=unless)]), file_error)

    def _remove(self, folder: DropFolder) -> None:
        gone = folder.remove(self._left)
        _check([f for f in gone if f and f.reason is not Reason.MISSING], file_error)
        self._left.clear()

    def _clean_up(self) -> None:
        """Remove what a failed test left behind, over a new connection: the old one may be lost."""
        if self._left:
            with suppress(ConnectorError), self._open_folder(_ignore, _ignore) as folder:
                folder.remove(self._left)

    def _saw_host_key(self, key: str) -> None:
        self._host_key = key

    def _begin(self, phase: str) -> None:
        self._end_phase()
        self._phase, self._began = phase, time.monotonic()

    def _end_phase(self) -> None:
        if self._phase:
            self._add(self._phase, "ok", self._note)
            self._phase, self._note = None, ""

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
        self._tell(ReportStep(name=name, outcome=outcome, milliseconds=took, note=note))

    def _fail(self, name: str, error: ConnectorError) -> None:
        took = round((time.monotonic() - self._began) * 1000)
        self._phase = None
        self._tell(
            ReportStep(
                name=name,
                outcome="failed",
                milliseconds=took,
                note=error.message,
                error=error,
            )
        )

    def _tell(self, step: ReportStep) -> None:
        self._steps.append(step)
        if self._on_step:
            self._on_step(step)


def _ignore(_: str) -> None:
    """Nobody listens while a test is cleaned up."""


def _check(
    results: Sequence[FileError | None], translate: Callable[[FileError], ConnectorError]
) -> None:
    for failure in results:
        if failure:
            raise translate(failure)


def _list(folder: DropFolder, path: str) -> None:
    try:
        next(iter(folder.entries(path)), None)
    except FileError as e:
        raise file_error(e) from e
