"""The frozen values that cross the port: orders, files, acks, reports and results."""

import base64
import binascii
import hashlib
import mimetypes
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, Self
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
class Folder:
    """A folder of a destination. Its identity sets it apart from another folder in its place.

    The identity is None while the folder is missing, and empty if the server gives none.
    """

    path: str
    identity: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where files are staged, as the connector says it; never a secret.

    `server` says which server it is, e.g. by host, port and user. `folder` has the files under
    their final names; `staging_folder` has the staged ones, if that is another folder.
    """

    server: Mapping[str, str | int]
    folder: Folder
    staging_folder: Folder | None = None

    @property
    def folders(self) -> tuple[Folder, ...]:
        return (self.folder, self.staging_folder) if self.staging_folder else (self.folder,)

    @property
    def is_missing(self) -> bool:
        """Whether one of its folders is not there."""
        return any(folder.identity is None for folder in self.folders)

    def as_json(self) -> dict[str, str | int | None]:
        """The form that the ledger stores and people see."""
        stored: dict[str, str | int | None] = dict(self.server)
        for name, folder in (("folder", self.folder), ("staging_folder", self.staging_folder)):
            if folder:
                stored |= {name: folder.path, f"{name}_identity": folder.identity}
        return stored

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        server = dict(stored)
        folders = [
            Folder(path=path, identity=identity) if path is not None else None
            for path, identity in (
                (server.pop(name, None), server.pop(f"{name}_identity", None))
                for name in ("folder", "staging_folder")
            )
        ]
        folder = folders[0] or Folder(path="", identity=None)
        return cls(server=server, folder=folder, staging_folder=folders[1])


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
    staged_in: Destination | None = None


class Evidence(StrEnum):
    """How it is known that a file became visible under its final name."""

    OBSERVED = "OBSERVED"
    INFERRED = "INFERRED"
    CONFIRMED = "CONFIRMED"


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
    `folder`: where below the ack folder it was put away; empty, in the ack folder itself.
    """

    name: str
    folder: str = ""
    subject: AckName | None
    size: int | None
    modified_at: int | None
    intended: str | None = None

    @property
    def path(self) -> str:
        """The file's place below the ack folder."""
        return posixpath.join(self.folder, self.name)


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

    `is_perhaps_incomplete`: it may still be being written, so look again before classifying it.
    """

    code: str
    message: str
    is_perhaps_incomplete: bool


# The connection test.
@dataclass(frozen=True, slots=True)
class HostKey:
    """A server's public key, as the line of text that is pinned: its type and itself in base64."""

    line: str

    @classmethod
    def parse(cls, line: str) -> Self:
        """A comment at the end of the line does not count."""
        return cls(" ".join(line.split()[:2]))

    @property
    def key_type(self) -> str:
        return self.line.partition(" ")[0]

    @property
    def fingerprint(self) -> str:
        """The SHA256 fingerprint, as ssh shows it."""
        try:
            key = base64.b64decode(self.line.partition(" ")[2], validate=True)
        except binascii.Error:
            key = b""
        if not key:
            return "unreadable"
        return f"SHA256:{base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip('=')}"


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
