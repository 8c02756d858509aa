"""Signatures of webhooks by the Standard Webhooks specification, version 1.0.0. Pure."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable

from connectors.secrets import Secret

PREFIX = "whsec_"


def new_secret() -> Secret:
    """A random secret, as receivers' libraries take it."""
    return Secret(PREFIX + base64.b64encode(secrets.token_bytes(32)).decode())


def headers(keys: Iterable[Secret], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a message that is signed with each of the secrets."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    signatures = (
        hmac.digest(base64.b64decode(key.reveal().removeprefix(PREFIX)), signed, hashlib.sha256)
        for key in keys
    )
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            f"v1,{base64.b64encode(signature).decode()}" for signature in signatures
        ),
    }
