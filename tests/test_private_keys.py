"""Private keys in the forms that ssh-keygen and openssl write, as people paste them."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.dropzone.connector import DropzoneJsonV1Connector
from connectors.dropzone.sftp import ssh
from connectors.port import ConfigError
from tests.dropzones import openssh_config
from tests.servers import OpenSSHServer
from tests.servers.keys import new_key, public_line
from tests.servers.process import scratch_folder

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


def described(key: str, passphrase: str | None) -> str:
    """The type and fingerprint of the key of a connection."""
    config = {
        "mode": "sftp",
        "host": "sftp.example",
        "username": "u",
        "ssh_key": key,
        "export_path": "/exports",
        **({"key_passphrase": passphrase} if passphrase else {}),
    }
    return connector.describe_secrets(connector.parse_config(config))["ssh_key"]


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
