"""The port: what the ledger asks of a connector, and the values that cross between them."""

import hashlib
import mimetypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Literal, Protocol
from uuid import UUID

from connectors.errors import ConnectorError


# Orders, frozen at the moment of a push.
@dataclass(frozen=True, slots=True, kw_only=True)
class OrgSnapshot:
    id: UUID
    slug: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerSnapshot:
    id: UUID
    erp_customer_number: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDocumentSnapshot:
    id: UUID
    file_name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSnapshot:
    line_no: int
    internal_sku: str
    qty: Decimal
    uom: str
    unit_price: Decimal | None
    currency: str | None
    customer_sku_raw: str | None
    description: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSnapshot:
    id: UUID
    approved_at: datetime
    approved_by: str
    customer: CustomerSnapshot
    external_order_number: str | None
    order_date: date | None
    currency: str
    requested_delivery_date: date | None
    notes: str | None
    source_document: SourceDocumentSnapshot | None
    lines: tuple[LineSnapshot, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """An order as the ERP will read it: a file name, unique to this export, and the bytes."""

    filename: str
    content: bytes

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def media_type(filename: str) -> str:
    """Return what kind of document a file is, by the end of its name."""
    return mimetypes.guess_type(filename)[0] or "application/octet-stream"


# Files on their way.
@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One export in the hands of a session.

    `staged_path` is where its bytes lie, or shall lie, before they become visible under
    `filename`. `staged_in`: the destination at that time; a staged file that is gone was published
    and taken if this is still the same one. None: its absence proves nothing.
    """

    filename: str
    content: bytes
    staged_path: str
    staged_in: "Destination | None" = None


class Evidence(StrEnum):
    """How it is known that a file became visible under its final name."""

    OBSERVED = "OBSERVED"
    INFERRED = "INFERRED"
    CONFIRMED = "CONFIRMED"


Destination = dict[str, str | int | None]
"""Where files are staged, as the connector tells it; never a secret.

`folder` is what stands before the file name in a final path. What ends in `_identity` sets a folder
apart from another one in its place, and is None while it is missing.
"""


# The ERP's answers.
@dataclass(frozen=True, slots=True, kw_only=True)
class AckName:
    """What the name of an answer says. Only ASCII letters, digits, `_`, `.` and `-` are in it.

    `order_id`: the order's whole id, if the name has it; `export_filename` has its first segment
    alone.
    """

    is_error: bool
    export_filename: str
    order_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AckFile:
    """A file in the ack folder; `subject` is None if its name is not that of an answer.

    `intended`: the name that was probably meant by one that only resembles that of an answer; its
    own name if that cannot be told. None: it resembles none, or is one.
    `modified_at`: seconds by the dropzone's clock, to be compared with nothing but its like.
    """

    name: str
    subject: AckName | None
    size: int | None
    modified_at: int | None
    intended: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AckMove:
    """A file to put away, as it was when it was listed; `receipt`: the record of its content."""

    file: AckFile
    is_malformed: bool
    receipt: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """An answer that was understood. Any database can store its texts; they are bounded."""

    is_accepted: bool
    erp_order_id: str | None
    error_code: str | None
    message: str | None
    processed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MalformedAck:
    """An answer that was not understood. `message` tells the ERP's programmer what to mend.

    `is_perhaps_incomplete`: it may still be being written, so look again before judging it.
    """

    code: str
    message: str
    is_perhaps_incomplete: bool


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

    def list_settled_acks(self) -> Iterator[AckFile]:
        """The like for the answers that were moved away, by names that `read_acks` takes."""

    def read_acks(self, names: Sequence[str]) -> list[bytes | ConnectorError | None]:
        """What the files hold, or more than an answer may hold; None for one that is gone."""

    def settle_acks(self, moves: Sequence[AckMove]) -> list[ConnectorError | None]:
        """Move answers to where the ERP finds what was processed, or was malformed.

        Nothing is overwritten. What is gone, or has changed since it was listed, is left alone.
        """


# The connection test.
@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStep:
    name: str
    outcome: Literal["ok", "failed", "skipped"]
    milliseconds: int
    note: str = ""
    error: ConnectorError | None = None

    def as_json(self) -> dict[str, Any]:
        """The step as people and the API may see it."""
        return {
            "name": self.name,
            "outcome": self.outcome,
            "milliseconds": self.milliseconds,
            "note": self.note,
            "error": self.error and self.error.as_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionReport:
    """The steps of a connection test in order; the host key that the server showed, if any."""

    steps: tuple[ReportStep, ...]
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    host_key: str | None = None

    @property
    def success(self) -> bool:
        return all(step.outcome != "failed" for step in self.steps)

    @property
    def error(self) -> ConnectorError | None:
        return next((step.error for step in self.steps if step.error), None)


# Configuration.
class ConfigError(ValueError):
    """A configuration that cannot be used: `errors` maps each field to a sentence."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in errors.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigField:
    """One field of a connector's configuration, enough to parse it and to draw a form of it.

    `modes`: where it has a meaning; empty, in every one. A connector that has modes declares a
    choice of the name `mode`. `is_identity`: it says which dropzone this is, `is_server`: on which
    server that lies. Secrets do not follow to another server.
    """

    name: str
    kind: Literal["text", "path", "secret", "integer", "number", "boolean", "lines", "choice"]
    label: str
    help: str = ""
    modes: frozenset[str] = frozenset()
    is_required: bool = False
    is_identity: bool = False
    is_server: bool = False
    is_multiline: bool = False
    default: Any = None
    choices: tuple[tuple[str, str], ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    def is_in(self, mode: object) -> bool:
        # Whatever a client gives as the mode, hashable or not.
        return not self.modes or mode in tuple(self.modes)


# The one-call export of the guide.
@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorMetadata:
    dropzone_path: str | None = None
    filename: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    success: bool
    export_storage_key: str | None = None
    error_message: str | None = None
    error_code: str | None = None
    connector_metadata: ConnectorMetadata = ConnectorMetadata()


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
    config_form: tuple[ConfigField, ...]

    @property
    def secret_fields(self) -> frozenset[str]:
        """The names of the configuration fields that never leave this service."""

    def parse_config(self, raw: Mapping[str, Any]) -> Any:
        """Return the frozen configuration. Raises ConfigError naming each wrong field."""

    def describe_secrets(self, config: Any) -> Mapping[str, str]:
        """What may be told of secrets, by field: enough to know which one is set. No I/O."""

    def identity(self, config: Any) -> Mapping[str, Any]:
        """The fields that say which dropzone this is; locked while files are staged there."""

    def identity_at(self, destination: Destination) -> Mapping[str, Any]:
        """What `identity` was where files were staged, as far as the destination tells."""

    def render(self, order: OrderSnapshot, org: OrgSnapshot) -> Document:
        """Return the order as a document. No I/O. Raises ConnectorError (NOT_EXPORTABLE)."""

    def open(
        self, config: Any, *, patience: float | None = None
    ) -> AbstractContextManager[Session]:
        """Reach the dropzone. Raises ConnectorError.

        `patience`: seconds to wait for each answer until it is reached, if less than configured.
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
