"""The connector interface: what the ledger asks of a connector, and its archive."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import PurePosixPath
from typing import Any, Protocol
from uuid import UUID

from asgiref.sync import sync_to_async

from connectors.port.configuration import ConfigField
from connectors.port.session import Session
from connectors.port.values import (
    Ack,
    AckName,
    ConnectionReport,
    Destination,
    Document,
    ExportResult,
    MalformedAck,
    OrderSnapshot,
    OrgSnapshot,
    ReportStep,
)


class ObjectStorage(Protocol):
    """The archive. Keys are addresses of content: the same key always holds the same bytes."""

    def put(self, key: str, content: bytes) -> bool:
        """Store under a new key; True if stored, False if the same bytes were there already.

        Either way the object was read and has these bytes. May be repeated. Raises ConnectorError:
        ARCHIVE_FAILED; ARCHIVE_CONFLICT if other bytes were there already; ARCHIVE_CORRUPT or
        ARCHIVE_MISSING if the storage did not keep what it had taken.
        """

    def get(self, key: str) -> bytes:
        """Return the bytes under a key.

        Raises ConnectorError: ARCHIVE_FAILED; ARCHIVE_MISSING if nothing lies there.
        """

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys in a folder, which ends with a slash. Raises ConnectorError (ARCHIVE_FAILED)."""

    def delete(self, key: str) -> None:
        """Remove what may lie under a key. Raises ConnectorError (ARCHIVE_FAILED)."""


def export_storage_key(org_id: UUID, document: Document) -> str:
    """The archive key of a document. Same bytes, same key: that is the deduplication."""
    return f"exports/{org_id}/{document.sha256}{PurePosixPath(document.filename).suffix}"


class ERPConnectorPort(Protocol):
    """A way to reach ERP systems. Stateless: a configuration comes with every call."""

    connector_type: str
    export_format_version: str
    ack_size_limit: int  # bytes; a larger file is no ack
    config_form: tuple[ConfigField, ...]

    @property
    def secret_fields(self) -> frozenset[str]:
        """The names of the configuration fields that never leave this service."""

    def parse_config(self, raw: Mapping[str, Any]) -> Any:
        """Return the frozen configuration. Raises ConfigError naming each wrong field."""

    def describe_secrets(self, config: Any) -> Mapping[str, str]:
        """What may be told of secrets, by field: enough to know which one is set. No I/O."""

    def required_settings(self, config: Mapping[str, Any]) -> Sequence[str]:
        """The Django settings without which a configuration, as stored, cannot work. No I/O."""

    def json_schemas(self) -> Mapping[str, Mapping[str, Any]]:
        """The JSON Schemas of the files that are exchanged, each under its name."""

    def identity(self, config: Any) -> Mapping[str, Any]:
        """The fields that say which dropzone this is; locked while files are staged there."""

    def identity_at(self, destination: Destination) -> Mapping[str, Any]:
        """What `identity` was where files were staged, as far as the destination tells."""

    def render(self, order: OrderSnapshot, org: OrgSnapshot) -> Document:
        """Return the order as a document. No I/O. Raises ConnectorError (NOT_EXPORTABLE)."""

    def open(
        self, config: Any, *, connect_timeout: float | None = None
    ) -> AbstractContextManager[Session]:
        """Reach the dropzone. Raises ConnectorError.

        `connect_timeout`: seconds to wait for each answer until it is reached, if less than
        configured.
        """

    def reads_acks(self, config: Any) -> bool:
        """Whether the ERP may write answers. No I/O."""

    def is_export_filename(self, filename: str) -> bool:
        """Whether an export could have this name. No I/O."""

    def ack_subject(self, filename: str) -> AckName | None:
        """Return what a listed file answers, by its name; None if it is not an answer. No I/O."""

    def read_ack(self, filename: str, content: bytes) -> Ack | MalformedAck:
        """Understand an answer, of which `content` is all or too much. No I/O; raises nothing."""

    def ack_text(self, content: bytes) -> str:
        """Return an answer, understood or not, as bounded text that any database can store."""

    def test(
        self, config: Any, *, on_step: Callable[[ReportStep], None] | None = None
    ) -> ConnectionReport:
        """Do what delivery will do, step by step. Raises nothing; leaves no file behind.

        `on_step` hears each step when it has ended.
        """

    def export(
        self, draft_order: OrderSnapshot, org: OrgSnapshot, config: Mapping[str, Any]
    ) -> ExportResult:
        """Render, archive and deliver in one call, without a ledger. Raises nothing."""

    async def aexport(
        self, draft_order: OrderSnapshot, org: OrgSnapshot, config: Mapping[str, Any]
    ) -> ExportResult:
        """export(), to be awaited: it runs in a thread of its own."""
        return await sync_to_async(self.export, thread_sensitive=False)(draft_order, org, config)
