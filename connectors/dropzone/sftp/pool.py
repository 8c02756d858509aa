"""A pool of open SFTP folders: one for each dropzone and process is kept between deliveries."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from connectors.dropzone.config import SftpConfig
from connectors.dropzone.sftp.folder import SftpFolder
from connectors.errors import ConnectorError

IDLE_SECONDS = 60  # well below the four minutes after which some servers hang up by themselves
_Place = tuple[str, int, str, str]


@dataclass(slots=True)
class _Idle:
    config: SftpConfig
    folder: SftpFolder
    since: float


class SessionPool:
    """A session is in use or idle here, never both, so each serves one thread at a time."""

    def __init__(self, open_folder: Callable[[SftpConfig], SftpFolder]) -> None:
        self._open_folder = open_folder
        self._begin()
        # A session does not survive a fork: its thread stays in the parent, whose it is.
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[_Place, _Idle] = {}
        self._is_empty = threading.Event()
        self._watcher: threading.Thread | None = None

    @contextmanager
    def session(self, config: SftpConfig, *, connect_timeout: float) -> Iterator[SftpFolder]:
        """An open session, kept for the next caller unless the block raises.

        Raises ConnectorError if there is none and none can be opened; no step of the opening
        takes longer than `connect_timeout` seconds.
        """
        timeout = min(connect_timeout, config.connect_timeout)
        folder = self._take(config, timeout) or self._open_folder(
            replace(config, connect_timeout=timeout)
        )
        try:
            yield folder
        except BaseException:
            folder.close()
            raise
        self._keep(config, folder)

    def close_idle(self, *, idle_seconds: float = 0) -> None:
        """Close the sessions that nobody has used for so long."""
        before = time.monotonic() - idle_seconds
        with self._lock:
            old = [place for place, idle in self._idle.items() if idle.since <= before]
            closing = [self._idle.pop(place) for place in old]
            if not self._idle:
                self._is_empty.set()
        for idle in closing:
            idle.folder.close()

    def _watch(self) -> None:
        """Look for idle sessions until there are none; one thread at a time."""
        while True:
            self._is_empty.wait(IDLE_SECONDS / 4)
            self.close_idle(idle_seconds=IDLE_SECONDS)
            with self._lock:
                if not self._idle:
                    self._watcher = None
                    return

    def _take(self, config: SftpConfig, timeout: float) -> SftpFolder | None:
        with self._lock:
            idle = self._idle.pop(_place(config), None)
        if idle is None:
            return None
        if idle.config == config:
            try:
                # Nothing is changed by looking, so a dead session can still be replaced.
                idle.folder.check(timeout)
            except ConnectorError:
                return None
            return idle.folder
        # Other credentials or host keys: what was opened with the old ones must not serve on.
        idle.folder.close()
        return None

    def _keep(self, config: SftpConfig, folder: SftpFolder) -> None:
        if not folder.is_open:
            return
        with self._lock:
            replaced = self._idle.pop(_place(config), None)
            self._idle[_place(config)] = _Idle(config, folder, time.monotonic())
            self._is_empty.clear()
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, daemon=True)
                self._watcher.start()
        if replaced:
            replaced.folder.close()


def _place(config: SftpConfig) -> _Place:
    return config.host, config.port, config.username, config.export_path
