"""The connectors that exist: type -> (label, dotted path). Adding one is one line here."""

from functools import cache
from typing import Final

from django.utils.module_loading import import_string

from connectors.port import ERPConnectorPort

CONNECTORS: Final[dict[str, tuple[str, str]]] = {
    "DROPZONE_JSON_V1": (
        "Dropzone (JSON files)",
        "connectors.dropzone.connector.DropzoneJsonV1Connector",
    ),
}


@cache
def get_connector(connector_type: str) -> ERPConnectorPort:
    """Return the connector of a type. Raises KeyError for an unknown type."""
    connector: ERPConnectorPort = import_string(CONNECTORS[connector_type][1])()
    return connector


def choices() -> list[tuple[str, str]]:
    """Types and labels for a form."""
    return [(connector_type, label) for connector_type, (label, _) in CONNECTORS.items()]
