"""SSH keys for tests, as text in OpenSSH's formats."""

from typing import Literal

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)


def new_key(kind: Literal["ed25519", "ecdsa", "rsa"] = "ed25519") -> str:
    """Return a new private key without a passphrase."""
    key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if kind == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    elif kind == "ecdsa":
        key = ec.generate_private_key(ec.SECP256R1())
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def with_passphrase(key: str, passphrase: str) -> str:
    """Return the private key protected by a passphrase."""
    encryption = BestAvailableEncryption(passphrase.encode())
    private = load_ssh_private_key(key.encode(), password=None)
    return private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, encryption).decode()


def public_line(key: str) -> str:
    """Return the public half of an unprotected private key: 'ssh-ed25519 AAAA...'."""
    public = load_ssh_private_key(key.encode(), password=None).public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
