"""Configurations: the guide's samples are taken as printed, wrong ones name field and reason."""

from typing import Any

import pytest

from connectors.dropzone.config import FilesystemConfig, SftpConfig, parse_config
from connectors.dropzone.connector import DropzoneJsonV1Connector
from connectors.port import ConfigError
from tests.support.servers.keys import new_key, with_passphrase

# The two samples of the guide, comments removed.
GUIDE_SFTP: dict[str, Any] = {
    "mode": "sftp",
    "host": "sftp.example.com",
    "port": 22,
    "username": "orderflow",
    "password": "secret",
    "ssh_key": "-----BEGIN RSA PRIVATE KEY-----\n...",
    "export_path": "/dropzone/exports",
    "ack_path": "/dropzone/acks",
    "atomic_write": True,
}
GUIDE_FILESYSTEM: dict[str, Any] = {
    "mode": "filesystem",
    "export_path": "/var/dropzone/exports",
    "ack_path": "/var/dropzone/acks",
    "atomic_write": True,
}


def errors(config: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigError) as raised:
        parse_config(config)
    return raised.value.errors


def test_the_sftp_sample_of_the_guide() -> None:
    config = parse_config(GUIDE_SFTP)
    assert isinstance(config, SftpConfig)
    assert (config.host, config.port, config.username) == ("sftp.example.com", 22, "orderflow")
    assert config.password and config.password.reveal() == "secret"
    assert config.atomic_write


def test_the_filesystem_sample_of_the_guide() -> None:
    config = parse_config(GUIDE_FILESYSTEM)
    assert isinstance(config, FilesystemConfig)
    assert config.ack_path == "/var/dropzone/acks"


def test_port_and_atomic_write_have_defaults() -> None:
    config = parse_config(
        {k: v for k, v in GUIDE_SFTP.items() if k not in ("port", "atomic_write")}
    )
    assert isinstance(config, SftpConfig)
    assert (config.port, config.atomic_write) == (22, True)


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"hots": "x"}, "hots", "did you mean “host”"),
        ({"zzz": 1}, "zzz", "is not a known field"),
        ({"host": ""}, "host", "is required"),
        ({"mode": "ftp"}, "mode", "must be “sftp” or “filesystem”"),
        ({"port": "22"}, "port", "must be a number"),
        ({"port": 22.5}, "port", "must be a whole number"),
        ({"port": 70_000}, "port", "between 1 and 65535"),
        ({"port": True}, "port", "must be a number"),
        ({"atomic_write": "yes"}, "atomic_write", "must be true or false"),
        ({"export_path": "exports"}, "export_path", "absolute"),
        ({"export_path": "/a/../b"}, "export_path", "“..”"),
        ({"host": "a\nb"}, "host", "control characters"),
        ({"password": 1}, "password", "must be a text"),
        ({"password": None, "ssh_key": None}, "password", "is required unless"),
        ({"ssh_key": None, "key_passphrase": "x"}, "key_passphrase", "without an ssh_key"),
        ({"host_keys": ["nonsense"]}, "host_keys", "public keys"),
        ({"file_mode": "999"}, "file_mode", "octal"),
        ({"password": "x" * 32_769}, "password", "the limit is 32,768 characters"),
        ({"ssh_key": "x" * 32_769}, "ssh_key", "is too long for a key or a password"),
        ({"key_passphrase": "x" * 32_769}, "key_passphrase", "too long for a key or a password"),
        ({"host": "x" * 256}, "host", "is too long: the limit is 255 characters"),
        ({"username": "x" * 256}, "username", "is too long"),
        ({"file_mode": "0" * 256}, "file_mode", "is too long"),
        ({"export_path": "/" + "x" * 4_096}, "export_path", "is too long for a path"),
        ({"host_keys": "x" * 32_769}, "host_keys", "is too long"),
        ({"host_keys": ["ssh-ed25519 AAAA"] * 3_000}, "host_keys", "is too long"),
        ({"host_keys": [""] * 40_000}, "host_keys", "is too long"),
        ({"tmp_path": "/t", "atomic_write": False}, "tmp_path", "atomic_write is off"),
        (
            {"export_path": "/dropzone/acks/processed"},
            "ack_path",
            "must not be the export folder",
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_reason(
    changes: dict[str, Any], field: str, reason: str
) -> None:
    found = errors({**GUIDE_SFTP, **changes})
    assert list(found) == [field]
    assert reason in found[field]


def test_fields_of_the_other_mode_are_refused() -> None:
    assert "filesystem" in errors({**GUIDE_FILESYSTEM, "host": "x"})["host"]


def test_all_wrong_fields_are_named_at_once() -> None:
    assert set(errors({"mode": "sftp", "port": 0, "hots": 1})) == {
        "hots",
        "host",
        "port",
        "username",
        "export_path",
    }


def test_a_config_never_shows_its_secrets() -> None:
    config = parse_config({**GUIDE_SFTP, "password": "canary-4711", "ssh_key": None})
    assert "canary-4711" not in f"{config!r} {config}"


def test_the_ack_folder_may_be_the_export_folder() -> None:
    assert parse_config({**GUIDE_FILESYSTEM, "ack_path": "/var/dropzone/exports"})


@pytest.mark.parametrize(
    ("key", "passphrase", "field", "reason"),
    [
        ("garbage", None, "ssh_key", "cannot be read"),
        (with_passphrase(new_key(), "right"), None, "ssh_key", "needs a passphrase"),
        (with_passphrase(new_key(), "right"), "wrong", "ssh_key", "passphrase does not open"),
    ],
)
def test_an_unusable_private_key_is_refused_when_entered(
    key: str, passphrase: str | None, field: str, reason: str
) -> None:
    config = {**GUIDE_SFTP, "ssh_key": key, "key_passphrase": passphrase}
    with pytest.raises(ConfigError) as raised:
        DropzoneJsonV1Connector().parse_config(config)
    assert reason in raised.value.errors[field]


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_private_keys_of_every_kind_are_taken(kind: Any) -> None:
    key = "\ufeff\n  " + new_key(kind).replace("\n", "\r\n") + "\n\n"
    DropzoneJsonV1Connector().parse_config({**GUIDE_SFTP, "ssh_key": key})
