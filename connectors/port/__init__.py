"""The port of connectors: the names that the ledger and the connectors share."""

from connectors.port.configuration import MODE, ConfigError, ConfigField
from connectors.port.connector import ERPConnectorPort, ObjectStorage, export_storage_key
from connectors.port.session import Session
from connectors.port.values import (
    Ack,
    AckFile,
    AckMove,
    AckName,
    ConnectionReport,
    ConnectorMetadata,
    CustomerSnapshot,
    Delivery,
    Destination,
    Document,
    Evidence,
    ExportResult,
    Folder,
    HostKey,
    LineSnapshot,
    MalformedAck,
    OrderSnapshot,
    OrgSnapshot,
    ReportStep,
    SourceDocumentSnapshot,
    media_type,
)
