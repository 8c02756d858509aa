"""The parser of private keys: PEM and OpenSSH forms, encrypted or not -> paramiko's key."""

import base64
import re
from contextlib import suppress
from io import StringIO
from typing import Final, NamedTuple

import paramiko
from cryptography.exceptions import InternalError, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPrivateNumbers
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from paramiko.ssh_exception import SSHException

from connectors.dropzone.config import SftpConfig
from connectors.dropzone.sftp.key_costs import check_openssh, check_pkcs8
from connectors.errors import ConnectorError

# Text may stand around the block: openssl writes the parameters of a curve before an EC key.
# Each expression is bounded, so that it takes linear time whatever was pasted.
_BEGIN: Final = re.compile(r"-----BEGIN ((?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY)-----")
_HEADER: Final = re.compile(r"(?<!\S)([A-Za-z][A-Za-z0-9-]{0,63}):\s*(\S+)")
_CIPHER: Final = re.compile(r"[A-Za-z0-9@.-]{1,40}")
# Computing with the numbers of a larger key takes minutes, and the content of an encrypted key
# shows only once it is decrypted. 5 KiB hold an RSA key of 8,192 bits.
_RSA_BITS: Final = range(1_024, 8_192 + 1)
_LARGEST_CONTENT: Final = 5 * 1024

# What the library raises for content that it cannot read.
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    NotImplementedError,
    InternalError,
    InvalidTag,
    UnsupportedAlgorithm,
)

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
_WRONG_SIZE: Final = (
    "The size of the private key is not supported: an RSA key can have 1,024 to 8,192 bits. Make a "
    "new key with “ssh-keygen -t ed25519 -f key”, and give its public key to the ERP team."
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
    found = _BEGIN.search(text)
    if found is None:
        for beginning, message in _OTHER_FORMS.items():
            if text.startswith(beginning):
                raise ConnectorError("KEY_UNREADABLE", public=message)
        if "-----BEGIN" in text and "PRIVATE KEY" in text:
            raise ConnectorError("KEY_UNREADABLE", public=_INCOMPLETE)
        raise ConnectorError("KEY_UNREADABLE", detail="no PEM block")
    label = found[1]
    body, end, _ = text[found.end() :].partition(f"-----END {label}-----")
    if not end:
        raise ConnectorError("KEY_UNREADABLE", public=_INCOMPLETE)
    headers = dict(_HEADER.findall(body))
    is_openssh = label == "OPENSSH PRIVATE KEY"
    is_pkcs8 = label == "ENCRYPTED PRIVATE KEY"
    cipher = headers.get("DEK-Info", "").partition(",")[0]
    try:
        content = base64.b64decode("".join(_HEADER.sub("", body).split()), validate=True)
        if len(content) > _LARGEST_CONTENT:
            raise ConnectorError("KEY_UNREADABLE", public=_WRONG_SIZE)
        if is_openssh:
            cipher = check_openssh(content)
        elif is_pkcs8:
            check_pkcs8(content)
    except ValueError as e:
        raise ConnectorError("KEY_UNREADABLE", public=_INCOMPLETE) from e
    if is_openssh:
        # It has no headers. The library would read their letters as content that was not checked.
        headers = {}
    data = base64.b64encode(content).decode()
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
        is_encrypted=is_pkcs8 or cipher not in ("", "none"),
        cipher=cipher,
    )


def _decrypt(pem: _Pem, passphrase: bytes | None) -> PrivateKeyTypes:
    load = (
        serialization.load_ssh_private_key if pem.is_openssh else serialization.load_pem_private_key
    )
    try:
        # The library tests whether the numbers of an RSA key are prime, which takes seconds and up
        # to minutes. _checked_rsa makes the other checks.
        return load(pem.text.encode(), password=passphrase, unsafe_skip_rsa_key_validation=True)
    except _UNREADABLE as e:
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
    if isinstance(key, RSAPrivateKey):
        return paramiko.RSAKey(key=_checked_rsa(key))
    # paramiko reads fewer forms than cryptography, and its own errors mislead.
    with suppress(*_UNREADABLE):
        plain = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        ).decode()
        for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey):
            with suppress(SSHException, ValueError):
                return kind.from_private_key(StringIO(plain))
    raise ConnectorError(
        "KEY_UNREADABLE", public="The private key is of a type that SFTP servers do not take."
    )


def _checked_rsa(key: RSAPrivateKey) -> RSAPrivateKey:
    """Return the key, if signing with it is safe and quick. Raises ConnectorError."""
    if key.key_size not in _RSA_BITS:
        raise ConnectorError("KEY_UNREADABLE", public=_WRONG_SIZE)
    if not _is_consistent(key.private_numbers()):
        raise ConnectorError("KEY_UNREADABLE", public=_INCOMPLETE)
    return key


def _is_consistent(key: RSAPrivateNumbers) -> bool:
    """Whether the numbers of a key fit together. Whether p and q are prime is not tested."""
    p, q, d, e = key.p, key.q, key.d, key.public_numbers.e
    return (
        p * q == key.public_numbers.n
        and all(prime > 2 and prime % 2 and e * d % (prime - 1) == 1 for prime in (p, q))
        and key.dmp1 == d % (p - 1)
        and key.dmq1 == d % (q - 1)
        and key.iqmp * q % p == 1
    )
