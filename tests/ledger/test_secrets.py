"""Secrets stay secret: the type, the encrypted column, its keys and its binding to the row."""

import copy
import json
import pickle
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection as database
from django.db import transaction
from django.db.models import F
from django.test import override_settings

from accounts.models import User
from connectors import configuring
from connectors.errors import ConnectorError
from connectors.fields import EncryptedConfigField
from connectors.models import ErpConnection
from connectors.port import ConfigError
from connectors.secrets import MASK, Secret
from tests.support.builders import a_connection, an_org
from tests.support.servers.keys import new_key

CANARY = "canary-4711"
SFTP = {
    "mode": "sftp",
    "host": "sftp.example.com",
    "username": "u",
    "password": CANARY,
    "export_path": "/exports",
}


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret(CANARY)
    shown = f"{secret} {secret!r} {[secret]} {secret:>20} %s" % secret
    assert CANARY not in shown
    assert secret.reveal() == CANARY
    assert secret == Secret(CANARY) != Secret("other")
    for leak in (pickle.dumps, json.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(secret)


@pytest.fixture
def field() -> Iterator[EncryptedConfigField]:
    field = ErpConnection._meta.get_field("config_encrypted")
    assert isinstance(field, EncryptedConfigField)

    def forget_keys() -> None:
        for name in ("keys", "fernet_keys", "fernet"):
            field.__dict__.pop(name, None)

    field.forget_keys = forget_keys  # type: ignore[attr-defined]
    yield field
    forget_keys()


@pytest.fixture
def secretive(db: None) -> ErpConnection:
    return a_connection(an_org(), SFTP)


pytestmark = pytest.mark.ledger


def stored(secretive: ErpConnection) -> str:
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT config_encrypted FROM erp_connection WHERE id = %s",
            [secretive.id.hex if database.vendor == "sqlite" else secretive.id],
        )
        text: str = cursor.fetchone()[0]
    return text


def test_the_column_holds_no_plain_text(secretive: ErpConnection) -> None:
    assert CANARY not in stored(secretive)
    assert "sftp.example.com" not in stored(secretive)
    assert secretive.config["password"] == CANARY


def test_a_ciphertext_of_another_row_is_refused(secretive: ErpConnection) -> None:
    other = a_connection(an_org("other"), {**SFTP, "password": "theirs"})
    ErpConnection.objects.filter(id=other.id).update(config_encrypted=secretive.config_encrypted)
    other.refresh_from_db()
    with pytest.raises(ConnectorError) as raised:
        _ = other.config
    assert raised.value.code == "CONFIG_UNREADABLE"


def test_one_bad_row_breaks_no_list(secretive: ErpConnection) -> None:
    with database.cursor() as cursor:
        cursor.execute("UPDATE erp_connection SET config_encrypted = 'garbage'")
    (row,) = ErpConnection.objects.all()
    with pytest.raises(ConnectorError):
        _ = row.config


def test_keys_rotate(secretive: ErpConnection, field: Any) -> None:
    from django.conf import settings

    old = settings.FERNET_KEYS
    with override_settings(FERNET_KEYS=["n" * 43, *old]):
        field.forget_keys()
        secretive.refresh_from_db()
        assert secretive.config["password"] == CANARY
        secretive.seal(secretive.config)
        secretive.save(update_fields=["config_encrypted"])
    with override_settings(FERNET_KEYS=["n" * 43]):
        field.forget_keys()
        secretive.refresh_from_db()
        assert secretive.config["password"] == CANARY
    with override_settings(FERNET_KEYS=["z" * 43]):
        field.forget_keys()
        secretive.refresh_from_db()
        with pytest.raises(ConnectorError) as raised:
            _ = secretive.config
        assert raised.value.code == "CONFIG_UNREADABLE"


def test_only_sealed_values_are_stored(secretive: ErpConnection) -> None:
    with pytest.raises(TypeError), transaction.atomic():
        ErpConnection.objects.update(config_encrypted={"password": CANARY})
    before = stored(secretive)
    ErpConnection.objects.update(config_encrypted=F("config_encrypted"))
    assert stored(secretive) == before
    ErpConnection.objects.bulk_update([secretive], ["config_encrypted"])
    secretive.refresh_from_db()
    assert secretive.config["password"] == CANARY


def test_dumpdata_writes_the_ciphertext_and_loaddata_takes_it_back(
    secretive: ErpConnection, tmp_path: Path
) -> None:
    dump = StringIO()
    call_command("dumpdata", "connectors", stdout=dump)
    assert CANARY not in dump.getvalue()
    (tmp_path / "dump.json").write_text(dump.getvalue())
    secretive.delete()
    call_command("loaddata", tmp_path / "dump.json", verbosity=0)
    assert ErpConnection.objects.get().config["password"] == CANARY


# Write-only: what goes in does not come out.


def test_the_masked_config_shows_that_a_secret_is_set(secretive: ErpConnection) -> None:
    masked = configuring.masked_config(secretive)
    assert masked["password"] == MASK
    assert CANARY not in str(masked)


@pytest.mark.parametrize("given", [{}, {"password": ""}, {"password": MASK}])
def test_a_secret_that_is_left_out_stays(secretive: ErpConnection, given: dict[str, str]) -> None:
    rest = {k: v for k, v in SFTP.items() if k != "password"}
    configuring.change_config(secretive, {**rest, "ack_path": "/acks", **given})
    assert secretive.config["password"] == CANARY
    assert secretive.config["ack_path"] == "/acks"


def test_a_secret_can_be_replaced_and_cleared(secretive: ErpConnection) -> None:
    configuring.change_config(secretive, {**SFTP, "password": "new"})
    assert secretive.config["password"] == "new"
    with pytest.raises(ConfigError) as raised:
        configuring.change_config(secretive, {**SFTP, "password": ""}, clear=["password"])
    assert raised.value.errors == {"password": "is required unless there is an ssh_key."}
    assert secretive.config["password"] == "new"


@pytest.mark.parametrize(
    ("name", "value"), [("host", "evil.example.com"), ("port", 2200), ("username", "root")]
)
def test_a_secret_does_not_follow_to_another_server(
    secretive: ErpConnection, name: str, value: object
) -> None:
    moved = {**SFTP, name: value, "password": ""}
    with pytest.raises(ConfigError) as raised:
        configuring.change_config(secretive, moved)
    assert f"entered again because {name} changed" in raised.value.errors["password"]
    # The default, written out, is the same server.
    configuring.change_config(secretive, {**SFTP, "port": 22, "password": ""})


# Who set them.
def test_it_is_noted_which_secret_was_set_when_and_by_whom(db: None) -> None:
    ann, bob = (User.objects.create(username=name) for name in ("ann", "bob"))
    secretive = configuring.create_connection(
        an_org(),
        connector_type="DROPZONE_JSON_V1",
        config={**SFTP, "password": "first", "ssh_key": new_key()},
        actor=ann,
    )
    noted = secretive.secrets_set
    assert noted.keys() == {"password", "ssh_key"}
    assert noted["ssh_key"]["about"].startswith("ssh-ed25519 SHA256:")
    assert {secret["by"] for secret in noted.values()} == {"ann"}

    configuring.change_config(secretive, {**SFTP, "password": "second"}, actor=bob)
    changed = secretive.secrets_set
    assert changed["password"]["by"] == "bob"
    assert changed["password"]["at"] > noted["password"]["at"]
    assert changed["ssh_key"] == noted["ssh_key"]
    configuring.change_config(secretive, SFTP | {"password": MASK}, clear=["ssh_key"])
    assert secretive.secrets_set == {"password": changed["password"]}
