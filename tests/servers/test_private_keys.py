"""Private keys in the forms that ssh-keygen and openssl write, as people paste them."""

import base64
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.asn1 import encode_der
from cryptography.x509 import ObjectIdentifier

from connectors.dropzone.connector import DropzoneJsonV1Connector
from connectors.dropzone.sftp import ssh
from connectors.dropzone.sftp.private_keys import load_private_key
from connectors.errors import ConnectorError
from connectors.port import ConfigError
from connectors.secrets import Secret
from tests.support.dropzones import openssh_config
from tests.support.servers import OpenSSHServer
from tests.support.servers.keys import new_key, public_line, with_passphrase
from tests.support.servers.process import scratch_folder

connector = DropzoneJsonV1Connector()

PASSPHRASE = "open sesame"
# One key of each type is converted to every form: making an RSA key takes long.
OPENSSL_FORMS = {
    **{
        f"traditional RSA, {cipher}": ("rsa", f"openssl rsa -traditional -{cipher}")
        for cipher in ("des3", "aes128", "aes256")
    },
    "traditional RSA": ("rsa", "openssl rsa -traditional"),
    "traditional EC, aes256": ("ecdsa", "openssl ec -aes256"),
    **{
        f"PKCS#8 EC, {options}": ("ecdsa", f"openssl pkcs8 -topk8 {options}")
        for options in ("-v2 aes-256-cbc", "-v2 des3", "-v1 PBE-SHA1-3DES", "-scrypt", "-nocrypt")
    },
    "PKCS#8 RSA": ("rsa", "openssl pkcs8 -topk8"),
    "PKCS#8 Ed25519": ("ed25519", "openssl pkcs8 -topk8"),
}
SSH_KEYGEN_FORMS = [
    (kind, f"-m {form}") for kind in ("rsa", "ecdsa") for form in ("PEM", "PKCS8", "RFC4716")
] + [
    ("ed25519", f"-Z {cipher}") for cipher in ("aes256-ctr", "aes256-cbc", "aes256-gcm@openssh.com")
]


def run(command: str, *more: str) -> str:
    done = subprocess.run(
        [*command.split(), *more], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sources(key_programs: None) -> dict[str, Path]:
    """A key of each type in a form that openssl and ssh-keygen read."""
    folder = scratch_folder("keys")
    made = {}
    for kind, options in (
        ("rsa", "RSA -pkeyopt rsa_keygen_bits:2048"),
        ("ecdsa", "EC -pkeyopt ec_paramgen_curve:P-256"),
        ("ed25519", "ED25519"),
    ):
        made[kind] = folder / kind
        made[kind].touch(mode=0o600)
        run(f"openssl genpkey -out {made[kind]} -algorithm {options}")
    return made


@pytest.fixture(scope="module")
def traditional(sources: dict[str, Path]) -> str:
    """An encrypted key that is unreadable without the empty line after its headers."""
    key = run(f"openssl ec -des3 -in {sources['ecdsa']}", "-passout", f"pass:{PASSPHRASE}")
    assert "DEK-Info: DES-EDE3-CBC" in key
    assert "\n\n" in key
    return key


def sftp_config(key: str, passphrase: str | None) -> dict[str, Any]:
    return {
        "mode": "sftp",
        "host": "sftp.example",
        "username": "u",
        "ssh_key": key,
        "export_path": "/exports",
        **({"key_passphrase": passphrase} if passphrase else {}),
    }


def described(key: str, passphrase: str | None) -> str:
    """The type and fingerprint of the key of a connection."""
    parsed = connector.parse_config(sftp_config(key, passphrase))
    return connector.describe_secrets(parsed)["ssh_key"]


def refusal(key: str, passphrase: str | None = PASSPHRASE) -> str:
    with pytest.raises(ConfigError) as raised:
        described(key, passphrase)
    return str(raised.value)


@pytest.mark.parametrize("form", OPENSSL_FORMS)
def test_forms_of_openssl(sources: dict[str, Path], form: str) -> None:
    kind, command = OPENSSL_FORMS[form]
    plain = described(sources[kind].read_text(), None)
    key = run(f"{command} -in {sources[kind]}", "-passout", f"pass:{PASSPHRASE}")
    assert described(key, PASSPHRASE) == plain
    if "ENCRYPTED" in key:
        assert "does not open the private key" in refusal(key, "wrong")
        assert "is encrypted: it needs a passphrase" in refusal(key, None)
    else:
        assert described(key, None) == plain


@pytest.mark.parametrize("passphrase", [PASSPHRASE, ""])
@pytest.mark.parametrize(("kind", "options"), SSH_KEYGEN_FORMS)
def test_forms_of_ssh_keygen(
    sources: dict[str, Path], tmp_path: Path, kind: str, options: str, passphrase: str
) -> None:
    file = tmp_path / "key"
    if kind == "ed25519":
        run(f"ssh-keygen -q -t ed25519 {options} -f {file}", "-N", passphrase)
    else:
        file.touch(mode=0o600)
        file.write_bytes(sources[kind].read_bytes())
        run(f"ssh-keygen -q -p {options} -f {file}", "-P", "", "-N", passphrase)
    key = file.read_text()
    public = run(f"ssh-keygen -y -f {file}", "-P", passphrase)
    assert described(key, PASSPHRASE).endswith(ssh.fingerprint(public))
    if passphrase:
        assert "does not open the private key" in refusal(key, "wrong")
        assert "is encrypted: it needs a passphrase" in refusal(key, None)


def test_an_ec_key_after_the_parameters_of_its_curve(key_programs: None) -> None:
    key = run("openssl ecparam -name prime256v1 -genkey")
    assert "EC PARAMETERS" in key
    assert described(key, None).startswith("ecdsa-sha2-nistp256 ")


CHANGES: dict[str, Callable[[str], str]] = {
    "CRLF": lambda key: key.replace("\n", "\r\n"),
    "CR": lambda key: key.replace("\n", "\r"),
    "a byte order mark": lambda key: f"\ufeff{key}",
    "indented": lambda key: "".join(f"    {line}\n" for line in key.splitlines()),
    "trailing blanks": lambda key: key.replace("\n", " \t\n"),
    "empty lines around": lambda key: f"\n\n{key}\n\n",
    "an empty line after each": lambda key: key.replace("\n", "\n\n"),
    "no empty line": lambda key: key.replace("\n\n", "\n"),
    "escaped, in one line": lambda key: key.replace("\n", "\\n"),
    "escaped CRLF, in one line": lambda key: key.replace("\n", "\\r\\n"),
    "spaces for line ends": lambda key: key.replace("\n", " "),
    "no end of the last line": lambda key: key.rstrip("\n"),
    "text before it": lambda key: f"Bag Attributes\n    friendlyName: key\n{key}",
}


@pytest.mark.parametrize("change", CHANGES)
def test_keys_as_they_are_pasted(sources: dict[str, Path], traditional: str, change: str) -> None:
    change_key = CHANGES[change]
    plain = described(sources["ecdsa"].read_text(), None)
    assert described(change_key(traditional), PASSPHRASE) == plain
    assert described(change_key(sources["ecdsa"].read_text()), None) == plain
    assert described(change_key(new_key()), None).startswith("ssh-ed25519 ")


def test_logging_in_with_a_traditional_encrypted_key(
    openssh: OpenSSHServer, key_programs: None, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    run(f"ssh-keygen -q -t rsa -b 2048 -m PEM -f {file}", "-N", PASSPHRASE)
    openssh.authorize(file.with_suffix(".pub").read_text().strip())
    config = openssh_config(openssh, ssh_key=file.read_text(), key_passphrase=PASSPHRASE)
    with connector.open(connector.parse_config(config)) as session:
        assert list(session.listing()) == []


@pytest.mark.parametrize(
    ("command", "cipher"),
    [
        ("openssl ec -aes192", "AES-192-CBC"),
        ("openssl ec -camellia256", "CAMELLIA-256-CBC"),
        ("openssl pkcs8 -topk8 -v2 camellia-256-cbc", ""),
    ],
)
def test_a_rare_cipher_is_named_with_how_to_convert(
    sources: dict[str, Path], tmp_path: Path, command: str, cipher: str
) -> None:
    key = run(f"{command} -in {sources['ecdsa']}", "-passout", f"pass:{PASSPHRASE}")
    said = refusal(key)
    assert cipher in said
    assert "ssh-keygen -p -f key" in said
    # The advice helps.
    file = tmp_path / "key"
    file.touch(mode=0o600)
    file.write_text(key)
    run(f"ssh-keygen -q -p -f {file}", "-P", PASSPHRASE, "-N", PASSPHRASE)
    assert described(file.read_text(), PASSPHRASE)


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none", "puttygen"),
        ("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nComment: x", "ssh-keygen -i"),
        (public_line(new_key()), "public key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "public key"),
        (new_key()[:-40], "not complete"),
        (new_key().replace("AAAA", "AA*A", 1), "not complete"),
        ("hello", "cannot be read"),
        ("-----BEGIN RSA PRIVATE KEY-----\n-----END RSA PRIVATE KEY-----", "cannot be read"),
    ],
    ids=["PuTTY", "ssh.com", "public line", "public PEM", "cut off", "garbled", "words", "empty"],
)
def test_what_is_no_such_key(pasted: str, said: str) -> None:
    for passphrase in (None, PASSPHRASE):
        assert said in refusal(pasted, passphrase)


def test_a_key_of_a_type_that_servers_do_not_take(key_programs: None) -> None:
    key = run("openssl genpkey -algorithm ED448")
    assert "of a type that SFTP servers do not take" in refusal(key)
    key = run("openssl genpkey -algorithm ED448 -aes256", "-pass", f"pass:{PASSPHRASE}")
    assert "of a type that SFTP servers do not take" in refusal(key)


def test_no_part_of_a_key_is_said(traditional: str) -> None:
    said: list[Any] = [refusal(traditional, "wrong"), refusal(traditional[:-40])]
    body = traditional.partition("\n\n")[2]
    assert not any(line in text for text in said for line in body.splitlines()[:3])


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    length = [size] if size < 128 else [0x81, size] if size < 256 else [0x82, *divmod(size, 256)]
    return bytes([tag, *length]) + content


def sequence(*parts: bytes | int | str) -> bytes:
    """A DER sequence of content, numbers and object identifiers."""
    return der(
        0x30,
        *(
            part
            if isinstance(part, bytes)
            else encode_der(part if isinstance(part, int) else ObjectIdentifier(part))
            for part in parts
        ),
    )


def block(label: str, content: bytes) -> str:
    lines = base64.encodebytes(content).decode()
    return f"-----BEGIN {label}-----\n{lines}-----END {label}-----\n"


SALT = der(0x04, b"8 bytes.")
AES = sequence("2.16.840.1.101.3.4.1.42", der(0x04, b"i" * 16))


def encrypted_pkcs8(scheme: str, parameters: bytes) -> str:
    content = sequence(sequence(scheme, parameters), der(0x04, b"c" * 64))
    return block("ENCRYPTED PRIVATE KEY", content)


def pbes2(kdf: str, *numbers: int) -> str:
    parameters = sequence(sequence(kdf, sequence(SALT, *numbers)), AES)
    return encrypted_pkcs8("1.2.840.113549.1.5.13", parameters)


def pbkdf2(iterations: int) -> str:
    return pbes2("1.2.840.113549.1.5.12", iterations)


def scrypt(n: int, r: int, p: int) -> str:
    return pbes2("1.3.6.1.4.1.11591.4.11", n, r, p)


def pkcs12(iterations: int) -> str:
    return encrypted_pkcs8("1.2.840.113549.1.12.1.3", sequence(SALT, iterations))


def bcrypt(rounds: int) -> str:
    """A key of ssh-keygen whose rounds were changed."""
    content = base64.b64decode("".join(with_passphrase(new_key(), "x").splitlines()[1:-1]))
    start = content.index(b"bcrypt") + len(b"bcrypt") + 4
    start += 4 + int.from_bytes(content[start : start + 4], "big")
    changed = content[:start] + rounds.to_bytes(4, "big") + content[start + 4 :]
    return block("OPENSSH PRIVATE KEY", changed)


def with_content_in_headers(key: str) -> str:
    """The letters of the headers are content for a parser that ignores colons and spaces."""
    first, line, *rest = key.splitlines()
    return "\n".join([first, f"{line[:8]}: {line[8:]}", *rest])


def rsa_of_mersenne_primes(a: int, b: int) -> str:
    """Testing such numbers for being prime takes long, and writing them down does not."""
    p, q = 2**a - 1, 2**b - 1
    d = pow(65537, -1, (p - 1) * (q - 1))
    numbers = (0, p * q, 65537, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))
    return block("RSA PRIVATE KEY", sequence(*numbers))


BEGIN = "-----BEGIN PRIVATE KEY-----"
TOO_SLOW = "takes too long to decrypt"
# Makers of what keeps a process busy, and what is said about it.
BOMBS: dict[str, tuple[Callable[[], str], str]] = {
    "a megabyte": (lambda: "a" * 2**20, "is too long for a key or a password"),
    "letters": (lambda: f"{BEGIN}\n{'a' * 32_000}\n-----END PRIVATE KEY-----", "size of the"),
    "headers": (lambda: f"{BEGIN}\n{'a: ' * 10_000}\n-----END PRIVATE KEY-----", "be read"),
    "blanks": (lambda: f"{BEGIN}\na:{' ' * 30_000}\n-----END PRIVATE KEY-----", "complete"),
    "BEGIN lines": (lambda: BEGIN * 1_200, "is not complete"),
    "words in BEGIN": (lambda: f"-----BEGIN {'A ' * 16_000}", "cannot be read"),
    "bcrypt, 1,001": (lambda: bcrypt(1_001), TOO_SLOW),
    "bcrypt, the most": (lambda: bcrypt(2**32 - 1), TOO_SLOW),
    "bcrypt, none": (lambda: bcrypt(0), "is not complete"),
    "bcrypt in headers": (lambda: with_content_in_headers(bcrypt(1_001)), "is not complete"),
    "PBKDF2": (lambda: pbkdf2(10_000_001), TOO_SLOW),
    "PBKDF2, the most": (lambda: pbkdf2(2**31 - 1), TOO_SLOW),
    "PBKDF2, beyond": (lambda: pbkdf2(2**64), TOO_SLOW),
    "PBKDF2, none": (lambda: pbkdf2(0), "is not complete"),
    "scrypt, N": (lambda: scrypt(2**15, 8, 1), TOO_SLOW),
    "scrypt, r": (lambda: scrypt(2**14, 9, 1), TOO_SLOW),
    "scrypt, p": (lambda: scrypt(2**14, 8, 2), TOO_SLOW),
    "scrypt, no power of two": (lambda: scrypt(3, 1, 1), "is not supported"),
    "scrypt, negative": (lambda: scrypt(2**14, -8, -1), "is not complete"),
    "PBES1": (lambda: pkcs12(1_000_001), TOO_SLOW),
    "PBES1, none": (lambda: pkcs12(0), "is not complete"),
    "ECDSA, a compressed point": (
        lambda: block(
            "OPENSSH PRIVATE KEY",
            base64.b64decode("".join(new_key("ecdsa").splitlines()[1:-1])).replace(
                b"\0\0\0\x41\4", b"\0\0\0\x41\2"
            ),
        ),
        "cannot be read",
    ),
    "RSA, 8,676 bits": (lambda: rsa_of_mersenne_primes(4253, 4423), "1,024 to 8,192 bits"),
    "RSA, 19,630 bits": (lambda: rsa_of_mersenne_primes(9689, 9941), "1,024 to 8,192 bits"),
    "RSA, 1,128 bits as 20,458": (
        lambda: block("RSA PRIVATE KEY", sequence(0, 2**1128 + 1, 3, 3, 2**19937 - 1, 7, 1, 1, 1)),
        "is not complete",
    ),
    "RSA, 10 bits": (lambda: rsa_of_mersenne_primes(3, 7), "1,024 to 8,192 bits"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_crafted_key_is_refused_at_once(bomb: str) -> None:
    make_key, said = BOMBS[bomb]
    key = make_key()
    began = time.monotonic()
    assert said in (refused := refusal(key))
    # Each of them takes milliseconds, on a busy machine too.
    assert time.monotonic() - began < 5
    assert ("ssh-keygen -p -a 16 -f key" in refused) == (said == TOO_SLOW)


@pytest.mark.parametrize("unit", [BEGIN, "a", "a-", "a: ", "-----BEGIN A ", " "])
def test_finding_the_key_takes_linear_time(unit: str) -> None:
    parsed = connector.parse_config(sftp_config(new_key(), None))
    for start, end in (("", ""), (f"{BEGIN}\n", "\n-----END PRIVATE KEY-----")):
        text = start + unit * (600_000 // len(unit)) + end
        began = time.monotonic()
        with pytest.raises(ConnectorError):
            load_private_key(replace(parsed, ssh_key=Secret(text)))
        assert time.monotonic() - began < 5


def test_the_sentence_about_a_slow_key_names_the_limit_and_helps(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    assert "bcrypt rounds is 250" in refusal(bcrypt(251))
    assert "PBKDF2 iterations is 2,000,000" in refusal(pbkdf2(2_000_001))
    assert "PBES1 iterations is 1,000,000" in refusal(pkcs12(1_000_001))
    file = tmp_path / "key"
    key = run(
        f"openssl pkcs8 -topk8 -scrypt -scrypt_p 2 -in {sources['ecdsa']}",
        "-passout",
        f"pass:{PASSPHRASE}",
    )
    assert "scrypt N × r × p is 131,072" in refusal(key)
    file.touch(mode=0o600)
    file.write_text(key)
    run(f"ssh-keygen -q -p -a 16 -f {file}", "-P", PASSPHRASE, "-N", PASSPHRASE)
    assert described(file.read_text(), PASSPHRASE)


def test_costs_that_people_choose_are_taken(
    sources: dict[str, Path], key_programs: None, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    run(f"ssh-keygen -q -t ed25519 -a 100 -f {file}", "-N", PASSPHRASE)
    assert described(file.read_text(), PASSPHRASE)
    plain = described(sources["ecdsa"].read_text(), None)
    for options in ("-iter 600000", "-v2prf hmacWithSHA512", "-v1 PBE-SHA1-3DES -iter 20000"):
        key = run(
            f"openssl pkcs8 -topk8 {options} -in {sources['ecdsa']}",
            "-passout",
            f"pass:{PASSPHRASE}",
        )
        assert described(key, PASSPHRASE) == plain


def test_the_largest_rsa_key_is_taken() -> None:
    assert described(rsa_of_mersenne_primes(3217, 4423), None).startswith("ssh-rsa ")


def test_an_rsa_key_whose_numbers_do_not_fit_is_refused(sources: dict[str, Path]) -> None:
    key = run(f"openssl rsa -traditional -in {sources['rsa']}")
    content = base64.b64decode("".join(key.splitlines()[1:-1]))
    for place in (20, 400, 700, 850, 950, 1080, len(content) - 5):
        changed = bytearray(content)
        changed[place] ^= 2
        assert "is not complete" in refusal(block("RSA PRIVATE KEY", bytes(changed)), None)
