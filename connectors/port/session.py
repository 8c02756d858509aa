"""The session interface: what the ledger asks of an open connection."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from connectors.errors import ConnectorError
from connectors.port.values import AckFile, AckMove, Delivery, Destination, Evidence


class Session(Protocol):
    """An open connection. Every batch operation answers for each file in order.

    A ConnectorError in the list is that file's own. A ConnectorError that is raised concerns the
    connection; what was done to each file is then unknown.
    """

    def destination(self) -> Destination:
        """Where this session delivers to, with the identity of the folder as it is now."""

    def final_path(self, filename: str) -> str:
        """The path under which the ERP will find a file. No I/O."""

    def staging_path(self, filename: str, attempt: str) -> str:
        """Where an attempt stages a file; the final path if this connection does not stage."""

    def stage(self, deliveries: Sequence[Delivery]) -> list[ConnectorError | None]:
        """Put files, whole and durable, under their staging paths. A new path each time."""

    def publish(
        self, deliveries: Sequence[Delivery], *, is_resumed: bool
    ) -> list[Evidence | ConnectorError]:
        """Make staged files visible. May be repeated until it says how the file became so.

        `is_resumed`: another attempt may have come this far before, so look before acting.
        """

    def discard(self, paths: Sequence[str]) -> list[ConnectorError | None]:
        """Remove staged files that will not be published.

        A missing file is a success, but not where its folder is missing.
        """

    def visible(self, filenames: Sequence[str]) -> list[bool | ConnectorError]:
        """Whether a file lies under each final name now; an error if that cannot be seen."""

    def listing(self) -> Iterator[str]:
        """The names of the files in the export folder."""

    def read_exports(
        self, filenames: Sequence[str], *, limit: int
    ) -> list[bytes | ConnectorError | None]:
        """Up to `limit` bytes of what lies under each final name; None if nothing does."""

    def list_acks(self) -> Iterator[AckFile]:
        """The regular files in the ack folder as they come; none if there is no ack folder.

        Other operations may go on meanwhile. Raises ConnectorError.
        """

    def list_moved_acks(self) -> Iterator[AckFile]:
        """The answers that were moved away, as they come. Raises ConnectorError."""

    def read_acks(self, files: Sequence[AckFile]) -> list[bytes | ConnectorError | None]:
        """What the files hold, or more than an answer may hold; None for one that is gone."""

    def move_acks(self, moves: Sequence[AckMove]) -> list[ConnectorError | None]:
        """Move answers to where the ERP finds what was processed, or was malformed.

        Nothing is overwritten. What is gone, or has changed since it was listed, is left alone.
        """
