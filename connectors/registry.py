"""The registry of connectors: type -> (label, dotted path). To add one, add a line here."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

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


def connectors() -> Iterator[ERPConnectorPort]:
    """Each connector, in the order of the registry."""
    return map(get_connector, CONNECTORS)


@cache
def json_schemas() -> Mapping[str, Mapping[str, Any]]:
    """The JSON Schemas of the files that any connector exchanges, each under its name."""
    return {name: s for c in connectors() for name, s in c.json_schemas().items()}
