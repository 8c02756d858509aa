"""The connector that docs/adding-a-connector.md builds: orders as CSV objects in an S3 bucket."""

import csv
import io
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
)

from connectors.errors import ConnectorError, Kind
from connectors.port import (
    Ack,
    AckFile,
    AckMove,
    AckName,
    ConfigError,
    ConfigField,
    ConnectionReport,
    Delivery,
    Destination,
    Document,
    ERPConnectorPort,
    Evidence,
    ExportResult,
    Folder,
    MalformedAck,
    OrderSnapshot,
    OrgSnapshot,
    ReportStep,
)
from connectors.secrets import Secret

T = TypeVar("T")
R = TypeVar("R")

_SECONDS: Final = 10
_LARGEST_ACK: Final = 64 * 1024
_EXPORT: Final = re.compile(r"sales_order_[0-9a-f]{8}_[0-9a-f]{8}\.csv")
_ACK: Final = re.compile(r"(ack|error)_(sales_order_[0-9A-Za-z_]+\.csv)")
_CODES: Final = {
    "NoSuchBucket": "DIR_MISSING",
    "AccessDenied": "PERMISSION",
    "InvalidAccessKeyId": "AUTH_FAILED",
    "SignatureDoesNotMatch": "AUTH_FAILED",
}

FIELDS: Final[tuple[ConfigField, ...]] = (
    ConfigField(
        name="endpoint_url",
        kind="text",
        label="Endpoint",
        is_required=True,
        is_identity=True,
        is_server=True,
    ),
    ConfigField(name="bucket", kind="text", label="Bucket", is_required=True, is_identity=True),
    ConfigField(
        name="prefix", kind="text", label="Export prefix", is_required=True, is_identity=True
    ),
    ConfigField(name="ack_prefix", kind="text", label="Ack prefix"),
    ConfigField(name="access_key", kind="text", label="Access key", is_required=True),
    ConfigField(name="secret_key", kind="secret", label="Secret key", is_required=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Config:
    endpoint_url: str
    bucket: str
    prefix: str
    ack_prefix: str | None
    access_key: str
    secret_key: Secret


class S3CsvConnector(ERPConnectorPort):
    connector_type = "S3_CSV_V1"
    export_format_version = "orders_csv_v1"
    ack_size_limit = _LARGEST_ACK
    config_form = FIELDS
    secret_fields = frozenset({"secret_key"})

    def parse_config(self, raw: Mapping[str, Any]) -> S3Config:
        errors = dict.fromkeys(raw.keys() - {f.name for f in FIELDS}, "is not a known field.")
        for field in FIELDS:
            value = raw.get(field.name)
            if value is None and field.is_required:
                errors[field.name] = "is required."
            elif value is not None and not isinstance(value, str):
                errors[field.name] = "must be a text."
            elif value is not None:
                try:
                    field.check_length(value)
                except ValueError as e:
                    errors[field.name] = str(e)
        if errors:
            raise ConfigError(errors)
        values: dict[str, Any] = {field.name: raw.get(field.name) for field in FIELDS}
        return S3Config(**{**values, "secret_key": Secret(raw["secret_key"])})

    def describe_secrets(self, config: S3Config) -> dict[str, str]:
        return {}

    def required_settings(self, config: Mapping[str, Any]) -> list[str]:
        return []

    def json_schemas(self) -> dict[str, dict[str, Any]]:
        return {}

    def identity(self, config: S3Config) -> dict[str, Any]:
        return {field.name: getattr(config, field.name) for field in FIELDS if field.is_identity}

    def identity_at(self, destination: Destination) -> dict[str, Any]:
        return {**destination.server, "prefix": destination.folder.path}

    def render(self, order: OrderSnapshot, org: OrgSnapshot) -> Document:
        text = io.StringIO()
        rows = csv.writer(text)
        rows.writerow(["customer", "order", "line", "sku", "quantity", "unit"])
        for line in order.lines:
            rows.writerow(
                [
                    order.customer.erp_customer_number,
                    order.external_order_number or "",
                    line.line_no,
                    line.internal_sku,
                    f"{line.qty.normalize():f}",
                    line.uom,
                ]
            )
        filename = f"sales_order_{str(order.id)[:8]}_{uuid.uuid4().hex[:8]}.csv"
        return Document(filename=filename, content=text.getvalue().encode())

    @contextmanager
    def open(
        self,
        config: S3Config,
        *,
        connect_timeout: float | None = None,
    ) -> Iterator["S3Session"]:
        with closing(S3Session(config, seconds=connect_timeout or _SECONDS)) as first:
            first.check()
        with closing(S3Session(config)) as session:
            yield session

    def reads_acks(self, config: S3Config) -> bool:
        return config.ack_prefix is not None

    def is_export_filename(self, filename: str) -> bool:
        return _EXPORT.fullmatch(filename) is not None

    def ack_subject(self, filename: str) -> AckName | None:
        match = _ACK.fullmatch(filename)
        return match and AckName(
            is_error=match[1] == "error", export_filename=match[2], order_id=None
        )

    def read_ack(self, filename: str, content: bytes) -> Ack | MalformedAck:
        """One row: `ACKED,<the ERP's number>` or `FAILED,<code>,<message>`."""
        try:
            ((status, value, *rest),) = csv.reader(content.decode().splitlines())
        except (ValueError, csv.Error):
            status, value, rest = "", "", []
        if status not in ("ACKED", "FAILED") or len(content) > _LARGEST_ACK or b"\0" in content:
            return MalformedAck(
                code="ACK_NOT_CSV",
                message="The object must hold one row, of a status and what belongs to it.",
                is_perhaps_incomplete=True,
            )
        is_accepted = status == "ACKED"
        return Ack(
            is_accepted=is_accepted,
            erp_order_id=value[:200] or None if is_accepted else None,
            error_code=None if is_accepted else value[:200],
            message=" ".join(rest)[:2000] or None,
            processed_at=None,
        )

    def ack_text(self, content: bytes) -> str:
        return content[:_LARGEST_ACK].decode(errors="backslashreplace").replace("\0", "\\x00")

    def test(
        self, config: S3Config, *, on_step: Callable[[ReportStep], None] | None = None
    ) -> ConnectionReport:
        steps: list[ReportStep] = []

        @contextmanager
        def step(name: str) -> Iterator[None]:
            began, error = time.monotonic(), None
            try:
                yield
            except ConnectorError as e:
                error = e
                raise
            finally:
                took = round((time.monotonic() - began) * 1000)
                steps.append(
                    ReportStep(
                        name=name,
                        outcome="failed" if error else "ok",
                        milliseconds=took,
                        error=error,
                    )
                )
                if on_step:
                    on_step(steps[-1])

        with suppress(ConnectorError), ExitStack() as stack:
            with step("reach"):
                session = stack.enter_context(self.open(config))
            name = f".orderflow-test-{uuid.uuid4().hex[:8]}.tmp"
            staged, final = session.staging_path(name, "test"), session.final_path(name)
            delivery = Delivery(filename=name, content=b"test", staged_path=staged)
            stack.callback(session.discard, [staged, final])
            with step("write"):
                _raise_first(session.stage([delivery]))
            with step("publish"):
                _raise_first(session.publish([delivery], is_resumed=False))
            with step("delete"):
                _raise_first(session.discard([final]))
            with step("read acks"):
                next(session.list_acks(), None)
        return ConnectionReport(steps=tuple(steps))

    def export(
        self, draft_order: OrderSnapshot, org: OrgSnapshot, config: Mapping[str, Any]
    ) -> ExportResult:
        return ExportResult(success=False, error_message="It delivers through the ledger alone.")


class S3Session:
    """After its PUT, an object is complete and durable. S3 has no rename.

    A worker that publishes therefore first creates a claim beside the staged object. Only one can
    exist, and only its owner may copy. A claim without its copy means an unknown outcome.
    """

    def __init__(self, config: S3Config, *, seconds: float = _SECONDS) -> None:
        self._config = config
        self._client = boto3.client(
            "s3",
            endpoint_url=config.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=config.access_key,
            aws_secret_access_key=config.secret_key.reveal(),
            config=Config(
                connect_timeout=seconds,
                read_timeout=seconds,
                # Who asks twice does not know which answer it got.
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
            ),
        )

    def close(self) -> None:
        self._client.close()

    def check(self) -> None:
        """See that the bucket is there and the key is good. Raises ConnectorError."""
        self._ask("list_objects_v2", Prefix=self._config.prefix, MaxKeys=1)

    def destination(self) -> Destination:
        config = self._config
        return Destination(
            server={"endpoint_url": config.endpoint_url, "bucket": config.bucket},
            # A prefix is never missing, and always the same one.
            folder=Folder(path=config.prefix, identity=""),
        )

    def final_path(self, filename: str) -> str:
        return f"{self._config.prefix}/{filename}"

    def staging_path(self, filename: str, attempt: str) -> str:
        # Beside the prefix that the ERP lists, not below it.
        return f"{self._config.prefix}.staging/{filename}.{attempt}"

    def stage(self, deliveries: Sequence[Delivery]) -> list[ConnectorError | None]:
        return _each(self._stage, deliveries)

    def _stage(self, delivery: Delivery) -> None:
        if self._found(self.final_path(delivery.filename)):
            raise ConnectorError("NAME_CONFLICT")
        if not self._create(delivery.staged_path, delivery.content):
            raise ConnectorError("NAME_CONFLICT", detail=delivery.staged_path)

    def publish(
        self, deliveries: Sequence[Delivery], *, is_resumed: bool
    ) -> list[Evidence | ConnectorError]:
        return _each(self._publish, deliveries)

    def _publish(self, delivery: Delivery) -> Evidence:
        claim = _claim(delivery.staged_path)
        if not self._create(claim, b""):
            return self._judge(delivery)
        if not self._copy(delivery.staged_path, self.final_path(delivery.filename)):
            # Nothing came of it, so another attempt may have the claim.
            self._delete(claim)
            return self._judge(delivery)
        self.discard([delivery.staged_path])
        return Evidence.OBSERVED

    def _judge(self, delivery: Delivery) -> Evidence:
        there = self._read(self.final_path(delivery.filename), limit=len(delivery.content) + 1)
        if there == delivery.content:
            return Evidence.OBSERVED
        if there is not None:
            raise ConnectorError("NAME_CONFLICT")
        if self._found(delivery.staged_path):
            # Claimed, and not visible: not copied yet, or copied and taken by the ERP.
            raise ConnectorError("OUTCOME_UNKNOWN")
        if delivery.staged_in != self.destination():
            raise ConnectorError("FOLDER_CHANGED")
        return Evidence.INFERRED

    def discard(self, paths: Sequence[str]) -> list[ConnectorError | None]:
        return _each(self._discard, paths)

    def _discard(self, path: str) -> None:
        # First what would be copied: a new claim is worth nothing without it.
        self._delete(path)
        self._delete(_claim(path))

    def visible(self, filenames: Sequence[str]) -> list[bool | ConnectorError]:
        return _each(lambda name: self._found(self.final_path(name)) is not None, filenames)

    def listing(self) -> Iterator[str]:
        return (name for name, _ in self._list(self._config.prefix))

    def read_exports(
        self, filenames: Sequence[str], *, limit: int
    ) -> list[bytes | ConnectorError | None]:
        return _each(lambda name: self._read(self.final_path(name), limit=limit), filenames)

    def list_acks(self) -> Iterator[AckFile]:
        return self._list_acks("")

    def list_moved_acks(self) -> Iterator[AckFile]:
        return chain(self._list_acks("processed/"), self._list_acks("error/"))

    def _list_acks(self, folder: str) -> Iterator[AckFile]:
        if self._config.ack_prefix is None:
            return
        for name, found in self._list(self._ack(folder).removesuffix("/")):
            yield AckFile(
                name=name,
                folder=folder,
                subject=S3CsvConnector().ack_subject(name),
                size=found["Size"],
                modified_at=int(found["LastModified"].timestamp()),
            )

    def read_acks(self, files: Sequence[AckFile]) -> list[bytes | ConnectorError | None]:
        return _each(lambda f: self._read(self._ack(f.path), limit=_LARGEST_ACK + 1), files)

    def move_acks(self, moves: Sequence[AckMove]) -> list[ConnectorError | None]:
        return _each(self._settle, moves)

    def _settle(self, move: AckMove) -> None:
        source = self._ack(move.file.name)
        now = self._found(source)
        if now is None or (now["ContentLength"], int(now["LastModified"].timestamp())) != (
            move.file.size,
            move.file.modified_at,
        ):
            return
        target = self._ack(f"{'error' if move.is_malformed else 'processed'}/{move.file.name}")
        if not self._copy(source, target):
            self._copy(source, f"{target}.{move.receipt}")
        self._delete(source)

    def _ack(self, name: str) -> str:
        return f"{self._config.ack_prefix}/{name}"

    # What is asked of the store.

    def _create(self, key: str, content: bytes) -> bool:
        """Whether the key was new."""
        return bool(self._ask("put_object", Key=key, Body=content, IfNoneMatch="*"))

    def _copy(self, source: str, target: str) -> bool:
        """Whether the target was new and the source was there."""
        place = {"Bucket": self._config.bucket, "Key": source}
        return bool(self._ask("copy_object", Key=target, CopySource=place, IfNoneMatch="*"))

    def _found(self, key: str) -> dict[str, Any] | None:
        return self._ask("head_object", Key=key)

    def _read(self, key: str, *, limit: int) -> bytes | None:
        with _translated():
            found = self._ask("get_object", Key=key)
            content: bytes | None = found["Body"].read(limit) if found else None
        return content

    def _delete(self, key: str) -> None:
        self._ask("delete_object", Key=key)

    def _list(self, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
        more: dict[str, str] = {}
        while True:
            page = self._ask("list_objects_v2", Prefix=f"{prefix}/", Delimiter="/", **more) or {}
            for found in page.get("Contents", ()):
                yield found["Key"].removeprefix(f"{prefix}/"), found
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _ask(self, operation: str, **parameters: Any) -> dict[str, Any] | None:
        """What the store answers; None if the key is not there, or there already."""
        with _translated():
            try:
                answer: dict[str, Any] = getattr(self._client, operation)(
                    Bucket=self._config.bucket, **parameters
                )
            except ClientError as e:
                if e.response["Error"]["Code"] in ("404", "NoSuchKey", "PreconditionFailed"):
                    return None
                raise
        return answer


def _claim(staged_path: str) -> str:
    return f"{staged_path}.claim"


def _each(work: Callable[[T], R], items: Sequence[T]) -> list[R | ConnectorError]:
    """An outcome for each; what concerns the connection as a whole is raised."""
    outcomes: list[R | ConnectorError] = []
    for item in items:
        try:
            outcomes.append(work(item))
        except ConnectorError as e:
            if e.kind is Kind.REACH:
                raise
            outcomes.append(e)
    return outcomes


def _raise_first(outcomes: Sequence[object]) -> None:
    for outcome in outcomes:
        if isinstance(outcome, ConnectorError):
            raise outcome


@contextmanager
def _translated() -> Iterator[None]:
    # The text of the library's errors may hold keys and addresses: no cause, only its name.
    try:
        yield
    except ClientError as e:
        code = e.response["Error"]["Code"]
        raise ConnectorError(_CODES.get(code, "REMOTE_FAILURE"), detail=code) from None
    except EndpointConnectionError:
        raise ConnectorError("CONNECT_REFUSED") from None
    except ConnectTimeoutError:
        raise ConnectorError("CONNECT_TIMEOUT") from None
    except BotoCoreError as e:
        raise ConnectorError("CONNECTION_LOST", detail=type(e).__name__) from None
