"""DROPZONE_JSON_V1: orders as JSON files in a folder, on an SFTP server or mounted."""

import ipaddress
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.conf import settings

from connectors.dropzone import acks, document, naming, schemas
from connectors.dropzone import config as configuration
from connectors.dropzone.config import DropzoneConfig, SftpConfig
from connectors.dropzone.config_fields import FIELDS
from connectors.dropzone.filesystem import FilesystemFolder, allowed_path
from connectors.dropzone.folder import DropFolder
from connectors.dropzone.probe import Probe
from connectors.dropzone.session import DropzoneSession
from connectors.dropzone.sftp import ssh
from connectors.dropzone.sftp.folder import SftpFolder
from connectors.dropzone.sftp.pool import SessionPool
from connectors.dropzone.sftp.private_keys import load_private_key
from connectors.errors import ConnectorError
from connectors.port import (
    MODE,
    Ack,
    AckName,
    ConfigError,
    ConnectionReport,
    ConnectorMetadata,
    Delivery,
    Destination,
    Document,
    ERPConnectorPort,
    Evidence,
    ExportResult,
    MalformedAck,
    ObjectStorage,
    OrderSnapshot,
    OrgSnapshot,
    ReportStep,
    Session,
    export_storage_key,
)

logger = logging.getLogger(__name__)


class DropzoneJsonV1Connector(ERPConnectorPort):
    connector_type = "DROPZONE_JSON_V1"
    export_format_version = document.FORMAT_VERSION
    ack_size_limit = acks.MAX_BYTES
    config_form = FIELDS
    secret_fields = frozenset(f.name for f in FIELDS if f.kind == "secret")

    def __init__(self, storage: ObjectStorage | None = None) -> None:
        """`storage` is where export() archives; the ledger archives by itself."""
        self._storage = storage

    def parse_config(self, raw: Mapping[str, Any]) -> DropzoneConfig:
        config = configuration.parse_config(raw)
        if isinstance(config, SftpConfig):
            if config.ssh_key:
                _checked("ssh_key", partial(load_private_key, config))
            for key in config.host_keys:
                _checked("host_keys", partial(ssh.fingerprint, key))
        else:
            for name in ("export_path", "ack_path", "tmp_path"):
                if path := getattr(config, name):
                    _checked(name, partial(allowed_path, path, settings.DROPZONE_ROOTS))
        return config

    def describe_secrets(self, config: DropzoneConfig) -> dict[str, str]:
        if not isinstance(config, SftpConfig) or config.ssh_key is None:
            return {}
        key = load_private_key(config)
        return {"ssh_key": f"{key.get_name()} {key.fingerprint}"}

    def required_settings(self, config: Mapping[str, Any]) -> Sequence[str]:
        return ["DROPZONE_ROOTS"] if config.get(MODE) == "filesystem" else []

    def json_schemas(self) -> dict[str, dict[str, Any]]:
        return {name: schemas.json_schema(name) for name in schemas.STRUCTS}

    def identity(self, config: DropzoneConfig) -> dict[str, Any]:
        return configuration.identity(config)

    def identity_at(self, destination: Destination) -> dict[str, Any]:
        return configuration.identity_at(destination)

    def render(self, order: OrderSnapshot, org: OrgSnapshot) -> Document:
        filename = naming.export_filename(order.id, now=datetime.now(UTC), suffix=uuid.uuid4())
        return Document(filename=filename, content=document.render(order, org))

    @contextmanager
    def open(
        self, config: DropzoneConfig, *, connect_timeout: float | None = None
    ) -> Iterator[Session]:
        folder: AbstractContextManager[DropFolder] = (
            pool.session(config, connect_timeout=connect_timeout or config.connect_timeout)
            if isinstance(config, SftpConfig)
            else _open_folder(config)
        )
        with folder as opened:
            yield DropzoneSession(opened, config, _server(config, opened))

    def reads_acks(self, config: DropzoneConfig) -> bool:
        return config.ack_path is not None

    def is_export_filename(self, filename: str) -> bool:
        return naming.is_export_filename(filename)

    def ack_subject(self, filename: str) -> AckName | None:
        return naming.parse_ack_filename(filename)

    def read_ack(self, filename: str, content: bytes) -> Ack | MalformedAck:
        return acks.read(filename, content)

    def ack_text(self, content: bytes) -> str:
        return acks.as_text(content)

    def test(
        self, config: DropzoneConfig, *, on_step: Callable[[ReportStep], None] | None = None
    ) -> ConnectionReport:
        return Probe(
            config,
            lambda on_phase, on_host_key: _open_folder(
                config, on_phase=on_phase, on_host_key=on_host_key
            ),
            on_step,
        ).run()

    def export(
        self, draft_order: OrderSnapshot, org: OrgSnapshot, config: Mapping[str, Any]
    ) -> ExportResult:
        filename = path = None
        try:
            if self._storage is None:
                raise ConnectorError("ARCHIVE_FAILED", public="No object storage is configured.")
            parsed = self.parse_config(config)
            rendered = self.render(draft_order, org)
            filename = rendered.filename
            key = export_storage_key(org.id, rendered)
            self._storage.put(key, rendered.content)
            with self.open(parsed) as session:
                path = session.final_path(filename)
                _deliver(session, rendered)
        except ConfigError as e:
            return ExportResult(success=False, error_message=str(e), error_code="CONFIG_INVALID")
        except ConnectorError as e:
            logger.exception("export of order %s: %s", draft_order.id, e.log_line)
            return ExportResult(
                success=False,
                error_message=e.message,
                error_code=e.code,
                connector_metadata=ConnectorMetadata(dropzone_path=path, filename=filename),
            )
        return ExportResult(
            success=True,
            export_storage_key=key,
            connector_metadata=ConnectorMetadata(dropzone_path=path, filename=filename),
        )


def _deliver(session: Session, rendered: Document) -> None:
    staged_path = session.staging_path(rendered.filename, uuid.uuid4().hex[:8])
    delivery = Delivery(
        filename=rendered.filename,
        content=rendered.content,
        staged_path=staged_path,
        staged_in=session.destination(),
    )
    (refused,) = session.stage([delivery])
    if refused:
        raise refused
    (published,) = session.publish([delivery], is_resumed=False)
    if not isinstance(published, Evidence):
        raise published


def _open_folder(
    config: DropzoneConfig,
    *,
    on_phase: Callable[[str], None] = lambda phase: None,
    on_host_key: Callable[[str], None] = lambda key: None,
) -> DropFolder:
    if isinstance(config, SftpConfig):
        return _open_sftp(config, on_phase=on_phase, on_host_key=on_host_key)
    on_phase("open")
    return FilesystemFolder(settings.DROPZONE_ROOTS, file_mode=config.file_mode)


def _open_sftp(
    config: SftpConfig,
    *,
    on_phase: Callable[[str], None] = lambda phase: None,
    on_host_key: Callable[[str], None] = lambda key: None,
) -> SftpFolder:
    networks = [ipaddress.ip_network(text) for text in settings.SFTP_DENIED_NETWORKS]
    connection = ssh.connect(config, denied=networks, on_phase=on_phase, on_host_key=on_host_key)
    return SftpFolder(connection, file_mode=config.file_mode)


pool = SessionPool(_open_sftp)


def _server(config: DropzoneConfig, folder: DropFolder) -> dict[str, Any]:
    if isinstance(config, SftpConfig):
        # A server that was set up anew has another key, and nothing of what lay on the old one.
        host_key = folder.host_key if isinstance(folder, SftpFolder) else ""
        return {
            "mode": "sftp",
            "host": config.host,
            "port": config.port,
            "username": config.username,
            "host_key": ssh.fingerprint(host_key) if host_key else "",
        }
    return {"mode": "filesystem"}


def _checked(name: str, check: Callable[[], object]) -> None:
    try:
        check()
    except ConnectorError as e:
        raise ConfigError({name: e.message}) from e
