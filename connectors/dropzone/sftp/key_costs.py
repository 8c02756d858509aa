"""The cost of decrypting a private key, checked before its passphrase is tried.

The key itself says how often the passphrase is hashed. A crafted key would keep the process busy
for hours.
"""

from typing import Final

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from connectors.errors import ConnectorError

# ssh-keygen writes 16 or 24, or the number given with -a. A round takes about 10 ms.
_MAX_BCRYPT: Final = 250
# openssl writes 2,048, or the number given with -iter. A million takes up to half a second.
_MAX_PBKDF2: Final = 2_000_000
# The forms before PBES2. openssl writes 2,048. A million takes about a second.
_MAX_PBES1: Final = 1_000_000
# N * r * p as openssl writes it. The memory, 128 * N * r bytes, is then 16 MiB at most.
_MAX_SCRYPT: Final = 16_384 * 8

_OPENSSH_MAGIC: Final = b"openssh-key-v1\0"
_PBES2: Final = ObjectIdentifier("1.2.840.113549.1.5.13")
_PBKDF2: Final = ObjectIdentifier("1.2.840.113549.1.5.12")
_SCRYPT: Final = ObjectIdentifier("1.3.6.1.4.1.11591.4.11")


@asn1.sequence
class _Algorithm:
    name: ObjectIdentifier
    parameters: asn1.TLV


@asn1.sequence
class _EncryptedKey:
    encryption: _Algorithm
    content: bytes


@asn1.sequence
class _Pbes1:
    salt: bytes
    iterations: int


@asn1.sequence
class _Pbes2:
    kdf: _Algorithm
    cipher: _Algorithm


@asn1.sequence
class _Hash:
    name: ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class _Pbkdf2:
    salt: bytes
    iterations: int
    key_length: int | None
    hash: _Hash | None


@asn1.sequence
class _Scrypt:
    salt: bytes
    n: int
    r: int
    p: int
    key_length: int | None


def check_openssh(content: bytes) -> str:
    """Return the name of the cipher, or “none”.

    Raises ConnectorError for a key that costs too much, ValueError for an unreadable one.
    """
    if not content.startswith(_OPENSSH_MAGIC):
        raise ValueError("not the OpenSSH format")
    cipher, rest = _string(content.removeprefix(_OPENSSH_MAGIC))
    _, rest = _string(rest)
    options, _ = _string(rest)
    if options:
        _, rounds = _string(options)
        _check("bcrypt rounds", int.from_bytes(rounds, "big"), _MAX_BCRYPT)
    return cipher.decode("ascii", "replace")


def check_pkcs8(content: bytes) -> None:
    """Check an encrypted PKCS#8 key.

    Raises ConnectorError for a key that costs too much, ValueError for an unreadable one.
    """
    encryption = asn1.decode_der(_EncryptedKey, content).encryption
    if encryption.name != _PBES2:
        iterations = encryption.parameters.parse(_Pbes1).iterations
        _check("PBES1 iterations", iterations, _MAX_PBES1)
        return
    kdf = encryption.parameters.parse(_Pbes2).kdf
    if kdf.name == _PBKDF2:
        iterations = kdf.parameters.parse(_Pbkdf2).iterations
        _check("PBKDF2 iterations", iterations, _MAX_PBKDF2)
    elif kdf.name == _SCRYPT:
        scrypt = kdf.parameters.parse(_Scrypt)
        if min(scrypt.n, scrypt.r, scrypt.p) < 1:
            raise ValueError("scrypt counts from 1")
        _check("scrypt N × r × p", scrypt.n * scrypt.r * scrypt.p, _MAX_SCRYPT)
    # The library refuses any other at once.


def _string(data: bytes) -> tuple[bytes, bytes]:
    """Return the string with which the data begins, and the rest. Raises ValueError."""
    end = 4 + int.from_bytes(data[:4], "big")
    if not 4 <= end <= len(data):
        raise ValueError("cut off")
    return data[4:end], data[end:]


def _check(name: str, cost: int, limit: int) -> None:
    if cost < 1:
        raise ValueError(f"{name}: {cost}")
    if cost > limit:
        raise ConnectorError(
            "KEY_UNREADABLE",
            public=f"The private key takes too long to decrypt: the limit of {name} is "
            f"{limit:,}. Convert it with “ssh-keygen -p -a 16 -f key”, then paste the changed "
            "file.",
        )
