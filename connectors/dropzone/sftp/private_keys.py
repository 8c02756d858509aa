"""The parser of private keys: PEM and OpenSSH forms, encrypted or not -> paramiko's key."""

import base64
import binascii
import re
from contextlib import suppress
from io import StringIO
from typing import Final, NamedTuple

import paramiko
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from paramiko.ssh_exception import SSHException

from connectors.dropzone.config import SftpConfig
from connectors.errors import ConnectorError

# Text may stand around the block: openssl writes the parameters of a curve before an EC key.
_PEM: Final = re.compile(
    r"-----BEGIN (?P<label>(?:[A-Z0-9]+ )*PRIVATE KEY)-----(?P<body>.*?)-----END (?P=label)-----",
    re.DOTALL,
)
_HEADER: Final = re.compile(r"([A-Za-z][A-Za-z0-9-]*):\s*(\S+)")
_CIPHER: Final = re.compile(r"[A-Za-z0-9@.-]{1,40}")
_OPENSSH_MAGIC: Final = b"openssh-key-v1\0"

# What people paste instead of such a key: how it begins, and what they are to do.
_OTHER_FORMS: Final = {
    "PuTTY-User-Key-File": "This is a PuTTY key (.ppk). Convert it: “puttygen key.ppk -O "
    "private-openssh -o key”, or in PuTTYgen Conversions, Export OpenSSH key. Then paste the "
    "new file.",
    "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY": "This is a key in the form of ssh.com. Convert it "
    "with “ssh-keygen -i -f key”, or with PuTTYgen to OpenSSH form. Then paste the new file.",
    "---- BEGIN SSH2 PUBLIC KEY": "This is the public key. Paste the private key.",
    "-----BEGIN PUBLIC KEY": "This is the public key. Paste the private key.",
    "-----BEGIN RSA PUBLIC KEY": "This is the public key. Paste the private key.",
    "-----BEGIN CERTIFICATE": "This is a certificate. Paste the private key.",
    "ssh-": "This is the public key. Paste the private key.",
    "ecdsa-sha2-": "This is the public key. Paste the private key.",
    "sk-": "This is the public key. Paste the private key.",
}
_INCOMPLETE: Final = (
    "The private key is not complete, or something in it was changed. Paste the whole file, from "
    "its BEGIN line to its END line."
)


class _Pem(NamedTuple):
    """A PEM block in the layout that parsers demand. `cipher`: of its encryption, if it tells."""

    text: str
    is_openssh: bool
    is_encrypted: bool
    cipher: str


def load_private_key(config: SftpConfig) -> paramiko.PKey:
    """Return the configured private key. Raises ConnectorError saying what is wrong with it."""
    if config.ssh_key is None:
        raise ConnectorError("KEY_UNREADABLE", public="No private key is configured.")
    pem = _find_pem(config.ssh_key.reveal())
    passphrase = config.key_passphrase.reveal().encode() if config.key_passphrase else None
    if pem.is_encrypted and passphrase is None:
        raise ConnectorError(
            "KEY_PASSPHRASE", public="The private key is encrypted: it needs a passphrase."
        )
    # A passphrase for a key that has none is no error.
    return _as_paramiko(_decrypt(pem, passphrase if pem.is_encrypted else None))


def _find_pem(pasted: str) -> _Pem:
    """Find the key in what was pasted and lay it out anew.

    Forms and editors indent lines, add or drop empty ones, change their ends or write them as
    `\\n` in one line. But an encrypted traditional key must have one empty line after its headers.
    """
    text = pasted.replace("\\r", "").replace("\\n", "\n").replace("\ufeff", "").strip()
    found = _PEM.search(text)
    if found is None:
        for beginning, message in _OTHER_FORMS.items():
            if text.startswith(beginning):
                raise ConnectorError("KEY_UNREADABLE", public=message)
        if "-----BEGIN" in text and "PRIVATE KEY" in text:
            raise ConnectorError("KEY_UNREADABLE", public=_INCOMPLETE)
        raise ConnectorError("KEY_UNREADABLE", detail="no PEM block")
    label, body = found["label"], found["body"]
    headers = dict(_HEADER.findall(body))
    data = "".join(_HEADER.sub("", body).split())
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error as e:
        raise ConnectorError("KEY_UNREADABLE", public=_INCOMPLETE) from e
    is_openssh = label == "OPENSSH PRIVATE KEY"
    if is_openssh:
        cipher = _openssh_cipher(content)
    else:
        cipher = headers.get("DEK-Info", "").partition(",")[0]
    return _Pem(
        text="\n".join(
            [
                f"-----BEGIN {label}-----",
                *(f"{name}: {value}" for name, value in headers.items()),
                *([""] if headers else []),
                *(data[i : i + 64] for i in range(0, len(data), 64)),
                f"-----END {label}-----",
                "",
            ]
        ),
        is_openssh=is_openssh,
        is_encrypted=label == "ENCRYPTED PRIVATE KEY" or cipher not in ("", "none"),
        cipher=cipher,
    )


def _openssh_cipher(content: bytes) -> str:
    if not content.startswith(_OPENSSH_MAGIC):
        return ""
    rest = content.removeprefix(_OPENSSH_MAGIC)
    return rest[4 : 4 + int.from_bytes(rest[:4], "big")].decode("ascii", "replace")


def _decrypt(pem: _Pem, passphrase: bytes | None) -> PrivateKeyTypes:
    load = (
        serialization.load_ssh_private_key if pem.is_openssh else serialization.load_pem_private_key
    )
    try:
        return load(pem.text.encode(), password=passphrase)
    except (ValueError, TypeError, InvalidTag, UnsupportedAlgorithm) as e:
        if not pem.is_encrypted:
            raise ConnectorError("KEY_UNREADABLE", detail=repr(type(e))) from e
        # cryptography has one class for a wrong passphrase and for a cipher that it does not know.
        if isinstance(e, UnsupportedAlgorithm) or "unknown" in str(e).lower():
            name = f" ({pem.cipher})" if _CIPHER.fullmatch(pem.cipher) else ""
            raise ConnectorError(
                "KEY_UNREADABLE",
                public=f"The private key is encrypted in a way that is not supported{name}. "
                "Convert it with “ssh-keygen -p -f key”, then paste the changed file.",
            ) from e
        raise ConnectorError(
            "KEY_PASSPHRASE", public="The passphrase does not open the private key."
        ) from e


def _as_paramiko(key: PrivateKeyTypes) -> paramiko.PKey:
    # paramiko reads fewer forms than cryptography, and its own errors mislead.
    with suppress(ValueError, TypeError, UnsupportedAlgorithm):
        plain = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        ).decode()
        for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
            with suppress(SSHException, ValueError):
                return kind.from_private_key(StringIO(plain))
    raise ConnectorError(
        "KEY_UNREADABLE", public="The private key is of a type that SFTP servers do not take."
    )
