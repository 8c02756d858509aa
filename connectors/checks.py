"""System checks of connections: a wrong setting is found at start, not during a delivery."""

import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections

from connectors import registry
from connectors.errors import ConnectorError
from connectors.models import ErpConnection

MINIMUM_KEY_LENGTH = 32
_MINIMUM_DIFFERENT_CHARACTERS = 5


@register(Tags.security)
def check_fernet_keys(**kwargs: Any) -> list[CheckMessage]:
    keys = getattr(settings, "FERNET_KEYS", [])
    if not keys:
        return [
            Error(
                "FERNET_KEYS is empty: configurations could not be encrypted.",
                hint="Set FERNET_KEYS to at least one random text of 43 characters.",
                id="connectors.E001",
            )
        ]
    if any(
        len(key) < MINIMUM_KEY_LENGTH
        or len(set(key)) < _MINIMUM_DIFFERENT_CHARACTERS
        or key == settings.SECRET_KEY
        for key in keys
    ):
        return [
            Error(
                f"A key in FERNET_KEYS is SECRET_KEY, shorter than {MINIMUM_KEY_LENGTH} or of few "
                "different characters.",
                hint='Make one with: python -c "import secrets; print(secrets.token_urlsafe())"',
                id="connectors.E002",
            )
        ]
    return []


@register()
def check_connectors(**kwargs: Any) -> list[CheckMessage]:
    errors: list[CheckMessage] = []
    for connector_type, (_, path) in registry.CONNECTORS.items():
        try:
            connector = registry.get_connector(connector_type)
        except ImportError as e:
            errors.append(
                Error(
                    f"Connector {path} cannot be imported: {e}",
                    hint="Correct its line in connectors/registry.py, or install what it needs.",
                    id="connectors.E003",
                )
            )
        else:
            if connector.connector_type != connector_type:
                errors.append(
                    Error(
                        f"Connector {path} says it is {connector.connector_type}, "
                        f"the registry says {connector_type}.",
                        hint="Write the same connector_type in both.",
                        id="connectors.E004",
                    )
                )
    return errors


@register()
def check_denied_networks(**kwargs: Any) -> list[CheckMessage]:
    return network_errors("SFTP_DENIED_NETWORKS", id="connectors.E005")


def network_errors(setting: str, *, id: str) -> list[CheckMessage]:
    """The error of a setting that lists networks, if one of them is none."""
    try:
        for text in getattr(settings, setting):
            ipaddress.ip_network(text)
    except ValueError as e:
        hint = "Write networks like 10.0.0.0/8 or fd00::/8, without host bits."
        return [Error(f"{setting}: {e}.", hint=hint, id=id)]
    return []


@register()
def check_delivery_instance(**kwargs: Any) -> list[CheckMessage]:
    if settings.DELIVERY_INSTANCE:
        return []
    return [
        Error(
            "DELIVERY_INSTANCE is empty: copies of this database could not be told from it.",
            hint="Set it to a name of this installation, or leave it out.",
            id="connectors.E007",
        )
    ]


@register(Tags.database)
def check_required_settings(
    databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    return [
        Error(
            f"{setting} is empty, but {name} cannot work without it.",
            hint=f"Set {setting}; docs/configuration.md says to what.",
            id="connectors.E006",
        )
        for alias in databases or []
        for name, setting in _missing_settings(alias)
    ]


def _missing_settings(alias: str) -> list[tuple[str, str]]:
    """The active connections that need settings which are empty, and these settings."""
    # `migrate` checks before it makes the table.
    if ErpConnection._meta.db_table not in connections[alias].introspection.table_names():
        return []
    found = []
    # No other column: those of a later release may be missing as well.
    active = (
        ErpConnection.objects.using(alias)
        .filter(active=True)
        .select_related("org")
        .only("connector_type", "config_encrypted", "org__name")
    )
    for connection in active:
        # A configuration that cannot be read says so itself; of a connector that is gone or cannot
        # be imported, check_connectors or its pages say so.
        with suppress(ConnectorError, ImportError, KeyError):
            for name in connection.connector.required_settings(connection.config):
                if not getattr(settings, name):
                    found.append((str(connection), name))
    return found
