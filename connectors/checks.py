"""System checks: a wrong setting is found at start, not during a delivery."""

import ipaddress
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

from connectors import registry

MINIMUM_KEY_LENGTH = 32


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
    if any(len(key) < MINIMUM_KEY_LENGTH or key == settings.SECRET_KEY for key in keys):
        return [
            Error(
                f"A key in FERNET_KEYS is SECRET_KEY or shorter than {MINIMUM_KEY_LENGTH}.",
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
            errors.append(Error(f"Connector {path} cannot be imported: {e}", id="connectors.E003"))
        else:
            if connector.connector_type != connector_type:
                errors.append(
                    Error(
                        f"Connector {path} says it is {connector.connector_type}, "
                        f"the registry says {connector_type}.",
                        id="connectors.E004",
                    )
                )
    return errors


@register()
def check_denied_networks(**kwargs: Any) -> list[CheckMessage]:
    try:
        for text in settings.SFTP_DENIED_NETWORKS:
            ipaddress.ip_network(text)
    except ValueError as e:
        return [Error(f"SFTP_DENIED_NETWORKS: {e}", id="connectors.E005")]
    return []
