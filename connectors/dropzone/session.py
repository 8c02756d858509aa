"""An open dropzone: exports are staged in it, and become visible, over any DropFolder."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connectors.dropzone import naming
from connectors.dropzone.ack_folder import AckFolder
from connectors.dropzone.config import DropzoneConfig
from connectors.dropzone.failures import file_error, list_entries, missing, read_files, rename_error
from connectors.dropzone.folder import DropFolder, FileError, NewFile, Reason, Stat
from connectors.errors import ConnectorError
from connectors.port import AckFile, AckMove, Delivery, Destination, Evidence, Folder

PublishOutcome = Evidence | ConnectorError


class DropzoneSession:
    def __init__(
        self, folder: DropFolder, config: DropzoneConfig, server: Mapping[str, Any]
    ) -> None:
        """`server`: what says which server it is, e.g. host, port and user."""
        self._folder = folder
        self._config = config
        self._server = dict(server)
        self._acks = AckFolder(folder, config.ack_path)
        self._folders = {config.export_path, config.tmp_path or config.export_path}

    def destination(self) -> Destination:
        staging = self._config.tmp_path
        return Destination(
            server=self._server,
            folder=self._at(self._config.export_path),
            staging_folder=self._at(staging) if staging else None,
        )

    def _at(self, path: str) -> Folder:
        return Folder(path=path, identity=self._folder.identity(path))

    def final_path(self, filename: str) -> str:
        return posixpath.join(self._config.export_path, filename)

    def staging_path(self, filename: str, attempt: str) -> str:
        if not self._config.atomic_write:
            return self.final_path(filename)
        folder = self._config.tmp_path or self._config.export_path
        return posixpath.join(folder, naming.tmp_filename(filename, attempt))

    def stage(self, deliveries: Sequence[Delivery]) -> list[ConnectorError | None]:
        if not self._config.atomic_write:
            # Nothing can be staged: only see to it that the name is free.
            return self._check_free(deliveries)
        files = [
            NewFile(d.staged_path, d.content, unless=self.final_path(d.filename))
            for d in deliveries
        ]
        results = self._folder.create(files)
        return [file_error(failure) if failure else None for failure in results]

    def _check_free(self, deliveries: Sequence[Delivery]) -> list[ConnectorError | None]:
        if self._folder.identity(self._config.export_path) is None:
            return [missing(self._config.export_path) for _ in deliveries]
        looks = self._folder.lstat([self.final_path(d.filename) for d in deliveries])
        return [
            file_error(look)
            if isinstance(look, FileError)
            else ConnectorError("NAME_CONFLICT")
            if look
            else None
            for look in looks
        ]

    def publish(self, deliveries: Sequence[Delivery], *, is_resumed: bool) -> list[PublishOutcome]:
        if not self._config.atomic_write:
            return self._inspect(deliveries) if is_resumed else self._write(deliveries)
        if is_resumed:
            return self._resume(deliveries)
        moves = [(d.staged_path, self.final_path(d.filename)) for d in deliveries]
        renamed = self._folder.rename(moves)
        open_ends = [d for d, failure in zip(deliveries, renamed, strict=True) if failure]
        settled = self._resume(open_ends)
        # Its rename was answered, so what the server left of it is nobody's any more.
        self._folder.remove(
            [
                d.staged_path
                for d, outcome in zip(open_ends, settled, strict=True)
                if isinstance(outcome, Evidence)
            ]
        )
        outcomes = iter(settled)
        return [next(outcomes) if failure else Evidence.OBSERVED for failure in renamed]

    def _resume(self, deliveries: Sequence[Delivery]) -> list[PublishOutcome]:
        """Look at final, then at staged, and go on from there."""
        finals = self._folder.lstat([self.final_path(d.filename) for d in deliveries])
        stageds = self._folder.lstat([d.staged_path for d in deliveries])
        outcomes = [
            self._resume_one(d, final, staged)
            for d, final, staged in zip(deliveries, finals, stageds, strict=True)
        ]
        absent = [d for d, outcome in zip(deliveries, outcomes, strict=True) if outcome is None]
        classified = iter(self._classify_absence(absent))
        return [outcome or next(classified) for outcome in outcomes]

    def _resume_one(
        self,
        delivery: Delivery,
        final: Stat | FileError | None,
        staged: Stat | FileError | None,
    ) -> PublishOutcome | None:
        """None: neither file is there."""
        for look in (final, staged):
            if isinstance(look, FileError):
                return file_error(look)
        if staged is None:
            return Evidence.OBSERVED if final else None
        if final:
            return self._classify_both(delivery)
        final_path = self.final_path(delivery.filename)
        (failure,) = self._folder.rename([(delivery.staged_path, final_path)])
        if failure is None:
            return Evidence.OBSERVED
        if failure.reason not in (Reason.MISSING, Reason.EXISTS):
            return rename_error(failure)
        # Another worker was quicker since the look, or the folder went.
        (final,) = self._folder.lstat([final_path])
        (staged,) = self._folder.lstat([delivery.staged_path])
        if isinstance(final, Stat):
            return self._classify_both(delivery) if staged else Evidence.OBSERVED
        return rename_error(failure) if staged else None

    def _classify_absence(self, deliveries: Sequence[Delivery]) -> list[PublishOutcome]:
        """Neither file was there: published and taken, if this is still the folder they lay in.

        It may have been away at that look and be back since, so what counts is another one.
        """
        if not deliveries:
            return []
        here = self.destination()
        finals = self._folder.lstat([self.final_path(d.filename) for d in deliveries])
        stageds = self._folder.lstat([d.staged_path for d in deliveries])
        outcomes: list[PublishOutcome] = []
        for delivery, final, staged in zip(deliveries, finals, stageds, strict=True):
            failure = next((look for look in (final, staged) if isinstance(look, FileError)), None)
            if failure:
                outcomes.append(file_error(failure))
            elif here.is_missing or delivery.staged_in != here or staged:
                detail = f"staged in {delivery.staged_in}, {here}"
                outcomes.append(ConnectorError("FOLDER_CHANGED", detail=detail))
            else:
                # Another worker may have renamed it between the looks at the two names.
                outcomes.append(Evidence.OBSERVED if final else Evidence.INFERRED)
        return outcomes

    def _classify_both(self, delivery: Delivery) -> PublishOutcome:
        """Both names exist: a rename that broke in the middle, or somebody else's file."""
        limit = len(delivery.content) + 1
        (there,) = self._folder.read([self.final_path(delivery.filename)], limit=limit)
        if isinstance(there, FileError):
            code = "OUTCOME_UNKNOWN" if there.reason is Reason.MISSING else "NAME_CONFLICT"
            return ConnectorError(code, detail=repr(there))
        # The staged name stays for now: OpenSSH takes the final one back if, between its link and
        # its unlink, somebody else removes the staged one.
        return Evidence.OBSERVED if there == delivery.content else ConnectorError("NAME_CONFLICT")

    def _write(self, deliveries: Sequence[Delivery]) -> list[PublishOutcome]:
        """Without staging: create the final files themselves, once and never again."""
        files = [NewFile(d.staged_path, d.content, unless=d.staged_path) for d in deliveries]
        return [
            _direct_error(failure) if failure else Evidence.OBSERVED
            for failure in self._folder.create(files)
        ]

    def _inspect(self, deliveries: Sequence[Delivery]) -> list[PublishOutcome]:
        """Without staging: a file that lies there complete was sent; nothing else is known."""
        if not deliveries:
            return []
        limit = max(len(d.content) for d in deliveries) + 1
        found = self._folder.read([self.final_path(d.filename) for d in deliveries], limit=limit)
        return [
            Evidence.OBSERVED if there == d.content else ConnectorError("OUTCOME_UNKNOWN")
            for d, there in zip(deliveries, found, strict=True)
        ]

    def discard(self, paths: Sequence[str]) -> list[ConnectorError | None]:
        results = self._folder.remove(paths)
        gone = [i for i, e in enumerate(results) if e and e.reason is Reason.MISSING]
        folders = {posixpath.dirname(paths[i]) for i in gone}
        # A folder that is not used any more may be gone for good.
        used = folders & self._folders
        away = {folder for folder in used if self._folder.identity(folder) is None}
        here = [i for i in gone if posixpath.dirname(paths[i]) not in away]
        # It may have been away until now.
        for i, failure in zip(here, self._folder.remove([paths[i] for i in here]), strict=True):
            results[i] = failure if failure and failure.reason is not Reason.MISSING else None
        return [file_error(failure) if failure else None for failure in results]

    def visible(self, filenames: Sequence[str]) -> list[bool | ConnectorError]:
        paths = [self.final_path(name) for name in filenames]
        looks = self._folder.lstat(paths)
        if self._folder.identity(self._config.export_path) is None:
            return [missing(self._config.export_path) for _ in filenames]
        # It may have been away at that look and be back since.
        absent = [path for path, look in zip(paths, looks, strict=True) if look is None]
        again = iter(self._folder.lstat(absent))
        looks = [look or next(again) for look in looks]
        return [
            file_error(look) if isinstance(look, FileError) else look is not None for look in looks
        ]

    def listing(self) -> Iterator[str]:
        return (entry.name for entry in list_entries(self._folder, self._config.export_path))

    def read_exports(
        self, filenames: Sequence[str], *, limit: int
    ) -> list[bytes | ConnectorError | None]:
        paths = [self.final_path(name) for name in filenames]
        return read_files(self._folder, paths, limit=limit)

    def list_acks(self) -> Iterator[AckFile]:
        return self._acks.files()

    def list_moved_acks(self) -> Iterator[AckFile]:
        return self._acks.moved_files()

    def read_acks(self, files: Sequence[AckFile]) -> list[bytes | ConnectorError | None]:
        return self._acks.read(files)

    def move_acks(self, moves: Sequence[AckMove]) -> list[ConnectorError | None]:
        return self._acks.move(moves)


def _direct_error(failure: FileError) -> ConnectorError:
    if failure.reason in (Reason.DENIED, Reason.MISSING, Reason.UNSUPPORTED):
        # Nothing can have come of it, and the next file would fare no better.
        return file_error(failure)
    return ConnectorError("OUTCOME_UNKNOWN", detail=repr(failure))
