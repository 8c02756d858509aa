"""The keys of the stored secrets can be changed while the service runs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from unittest import mock

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection as database
from django.db import transaction
from django.test import override_settings
from fernet_fields import EncryptedField

from accounts.audit import Action
from accounts.models import AuditEntry
from connectors import circuit_breaker, rotation
from connectors.configuring import change_config
from connectors.fields import EncryptedConfigField
from connectors.models import ErpConnection
from exports.delivery import protocol
from tests.support.builders import a_connection, a_user, an_org, some_exports
from tests.support.locks import wait_until_one_waits
from tests.support.processes import run

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]

NEW = token_urlsafe()


@contextmanager
def keys(*names: str) -> Iterator[None]:
    """Set FERNET_KEYS, as a process has them from its start."""
    column = ErpConnection._meta.get_field("config_encrypted")

    def forget() -> None:
        for name in ("keys", "fernet_keys", "fernet"):
            column.__dict__.pop(name, None)

    with override_settings(FERNET_KEYS=list(names)):
        forget()
        yield
    forget()


@pytest.fixture
def old() -> list[str]:
    found: list[str] = settings.FERNET_KEYS
    return found


def some_connections(folder: Path, count: int = 1) -> list[ErpConnection]:
    config = {"mode": "filesystem", "export_path": str(folder)}
    return [a_connection(an_org(f"org-{number}"), config) for number in range(count)]


def stored() -> list[tuple[object, ...]]:
    return list(ErpConnection.objects.order_by("id").values_list())


def ciphertexts() -> set[str]:
    return {row.config_encrypted.ciphertext for row in ErpConnection.objects.all()}


def test_everything_opens_with_the_new_key_alone(dropzone_root: Path, old: list[str]) -> None:
    some_connections(dropzone_root, 3)
    before = {row.id: row.config for row in ErpConnection.objects.all()}
    with keys(NEW, *old):
        assert rotation.rotate().rotated == 3
    with keys(NEW):
        assert {row.id: row.config for row in ErpConnection.objects.all()} == before


def test_a_second_run_changes_nothing(
    dropzone_root: Path, old: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    some_connections(dropzone_root, 2)
    with keys(NEW, *old):
        call_command("rotate_fernet_keys")
        after = ciphertexts()
        call_command("rotate_fernet_keys")
        assert ciphertexts() == after
    assert capsys.readouterr().out.splitlines() == [
        "2 encrypted anew, 0 were so already, 0 unreadable",
        "0 encrypted anew, 2 were so already, 0 unreadable",
    ]


def test_what_is_encrypted_anew_is_in_the_audit_log(dropzone_root: Path, old: list[str]) -> None:
    some_connections(dropzone_root, 2)
    recorded = AuditEntry.objects.filter(action=Action.SECRET_REENCRYPTED)
    with keys(NEW, *old):
        rotation.rotate()
        rotation.rotate()
    assert {entry.object_id for entry in recorded} == {
        str(c.id) for c in ErpConnection.objects.all()
    }
    assert recorded.count() == 2


def test_nothing_else_of_a_row_changes(dropzone_root: Path, old: list[str]) -> None:
    some_connections(dropzone_root)
    names = [field.name for field in ErpConnection._meta.fields if field.name != "config_encrypted"]
    before = ErpConnection.objects.values(*names).get()
    with keys(NEW, *old):
        rotation.rotate()
    assert ErpConnection.objects.values(*names).get() == before


def test_what_no_key_opens_is_named_and_left_as_it_is(
    dropzone_root: Path, old: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lost, *_ = some_connections(dropzone_root, 3)
    with keys(token_urlsafe()):
        lost.seal({"mode": "filesystem"})
        lost.save(update_fields=["config_encrypted"])
    with keys(NEW, *old):
        with pytest.raises(CommandError, match="No key in FERNET_KEYS opens these"):
            call_command("rotate_fernet_keys")
        assert capsys.readouterr().out.splitlines() == [
            "2 encrypted anew, 0 were so already, 1 unreadable",
            f"unreadable: erp_connection.config_encrypted {lost.id}",
        ]
    assert lost.config_encrypted.ciphertext in ciphertexts()


def test_an_interrupted_run_is_taken_up(dropzone_root: Path, old: list[str]) -> None:
    some_connections(dropzone_root, 3)
    resealed = EncryptedConfigField.resealed
    done: list[object] = []

    def break_off(column: EncryptedConfigField, sealed: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(sealed)
        return resealed(column, sealed)

    with keys(NEW, *old):
        with (
            mock.patch.object(EncryptedConfigField, "resealed", break_off),
            pytest.raises(KeyboardInterrupt),
        ):
            rotation.rotate()
        summary = rotation.rotate()
    assert (summary.rotated, summary.current) == (1, 2)


def test_every_encrypted_column_is_rotated() -> None:
    encrypted = {
        field
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, EncryptedField)
    }
    assert encrypted == {column for _, column in rotation._encrypted_fields()}


# While the service runs.


@pytest.mark.django_db(transaction=True)
def test_a_simultaneous_edit_is_not_lost(dropzone_root: Path, old: list[str]) -> None:
    if database.vendor != "postgresql":
        pytest.skip("SQLite lets one transaction write at a time")
    (erp,) = some_connections(dropzone_root)
    is_edited = threading.Event()

    def edit() -> None:
        with transaction.atomic():
            change_config(erp, {**erp.config, "file_mode": "0640"})
            is_edited.set()
            wait_until_one_waits()
        database.close()

    editor = threading.Thread(target=edit)
    with keys(*old):
        editor.start()
        assert is_edited.wait(10)
        with keys(NEW, *old):
            summary = rotation.rotate()
        editor.join()
    assert summary.rotated == 1
    with keys(NEW):
        assert ErpConnection.objects.get().config["file_mode"] == "0640"


def test_a_connection_test_under_way_counts(dropzone_root: Path, old: list[str]) -> None:
    (erp,) = some_connections(dropzone_root)
    with keys(NEW, *old):
        report = circuit_breaker.run_test(erp, on_step=lambda step: bool(rotation.rotate()))
        assert report.success
        erp.refresh_from_db()
        assert erp.last_test_at


def test_a_delivery_under_way_goes_on(dropzone_root: Path, old: list[str]) -> None:
    (erp,) = some_connections(dropzone_root)
    ann = a_user(erp.org)
    some_exports(erp.org, ann)

    def rotate(place: str) -> None:
        if place == "staged":
            assert rotation.rotate().rotated == 1

    with keys(NEW, *old), mock.patch.object(protocol, "failpoint", side_effect=rotate):
        assert protocol.deliver(erp.id).sent == 1


@pytest.mark.django_db(transaction=True)
def test_the_way_from_one_key_to_the_next(
    dropzone_root: Path, old: list[str], child_env: dict[str, str]
) -> None:
    (erp,) = some_connections(dropzone_root)

    def with_keys(*keys: str) -> dict[str, str]:
        return {**child_env, "FERNET_KEYS": ",".join(keys)}

    for step in ((*old, NEW), (NEW, *old)):
        assert run(with_keys(*step), "test_connection", str(erp.id)).returncode == 0
    rotated = run(with_keys(NEW, *old), "rotate_fernet_keys")
    assert rotated.stdout == "1 encrypted anew, 0 were so already, 0 unreadable\n"
    assert run(with_keys(NEW), "test_connection", str(erp.id)).returncode == 0
    assert run(with_keys(*old), "test_connection", str(erp.id)).returncode == 1
    assert run(with_keys(*old), "rotate_fernet_keys").returncode == 1
