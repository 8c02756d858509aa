"""Connections in the admin, from the first form to a delivery by hand; no secret gets out."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from accounts.models import Org, User
from connectors import circuit_breaker
from connectors.errors import ConnectorError
from connectors.models import NEVER_TESTED, ConnectionTest, ErpConnection
from connectors.port import HostKey
from exports import connection_tests
from exports.delivery import heartbeat
from exports.delivery.dispatch import due_connections
from exports.models import ErpExport
from exports.pushing.push import push_order
from tests.support.admins import (
    CANARY,
    HOST_KEY,
    OLD_HOST_KEY,
    logged_in,
    messages,
    needs_a_decision,
    page_url,
    text,
)
from tests.support.builders import an_approved_order

pytestmark = pytest.mark.django_db


SFTP_FORM = {
    "active": "on",
    "config_mode": "sftp",
    "config_host": "erp.example",
    "config_username": "orderflow",
    "config_export_path": "/out",
    "config_atomic_write": "on",
    "config_host_keys": OLD_HOST_KEY,
}


def _new(org: Org, **fields: str) -> dict[str, str]:
    return {"org": str(org.id), "connector_type": "DROPZONE_JSON_V1", **SFTP_FORM, **fields}


def test_a_new_connection_is_saved_and_paused(org: Org, oskar: User) -> None:
    client = logged_in(oskar)
    response = client.post(
        page_url("connectors_erpconnection_add"),
        _new(org, config_password=CANARY, config_port="2222", ack_deadline="1 00:00:00"),
        follow=True,
    )
    connection = ErpConnection.objects.get()
    assert response.redirect_chain[0][0] == page_url(
        "connectors_erpconnection_change", connection.id
    )
    assert connection.config == {
        "mode": "sftp",
        "host": "erp.example",
        "port": 2222,
        "username": "orderflow",
        "password": CANARY,
        "host_keys": [OLD_HOST_KEY],
        "export_path": "/out",
        "atomic_write": True,
    }
    assert connection.ack_deadline == timedelta(days=1)
    assert connection.pause_code == NEVER_TESTED
    assert CANARY not in text(response)
    assert "was not tested" in text(response)


def test_a_second_connection_of_an_org_is_refused(
    org: Org, sftp: ErpConnection, root: Client
) -> None:
    page = root.post(page_url("connectors_erpconnection_add"), _new(org, config_password="x"))
    assert "This organisation has a connection of this type." in text(page)


@pytest.mark.parametrize(
    ("fields", "name", "reason"),
    [
        ({"config_host": ""}, "host", "This field is required."),
        ({"config_export_path": "out"}, "export_path", "Must be an absolute path"),
        ({"config_ack_path": "/a/../b"}, "ack_path", "Must not contain “..”."),
        ({"config_password": ""}, "password", "Is required unless there is an ssh_key."),
        ({"config_port": "70000"}, "port", "Must lie between 1 and 65535."),
        ({"config_ssh_key": f"{CANARY}"}, "ssh_key", "private key"),
        ({"config_host_keys": "nonsense"}, "host_keys", "Must be public keys"),
        ({"config_mode": "filesystem"}, "host", "Has no meaning in mode “filesystem”."),
    ],
)
def test_a_wrong_configuration_is_said_at_its_field(
    org: Org, oskar: User, fields: dict[str, str], name: str, reason: str
) -> None:
    data = _new(org, **{"config_password": CANARY, **fields})
    response = logged_in(oskar).post(page_url("connectors_erpconnection_add"), data)
    errors = response.context["adminform"].form.errors
    assert reason in " ".join(errors[f"config_{name}"])
    assert CANARY not in text(response)
    assert not ErpConnection.objects.exists()


def test_filesystem_ignores_the_empty_fields_of_sftp(org: Org, oskar: User, folder: Path) -> None:
    empty = dict.fromkeys(("config_host", "config_username", "config_host_keys"), "")
    data = _new(org, config_mode="filesystem", config_export_path=f"{folder}/out", **empty)
    logged_in(oskar).post(page_url("connectors_erpconnection_add"), data)
    assert ErpConnection.objects.get().config == {
        "mode": "filesystem",
        "export_path": f"{folder}/out",
        "atomic_write": True,
    }


def test_a_secret_is_kept_replaced_and_cleared(sftp: ErpConnection, oskar: User) -> None:
    client = logged_in(oskar)
    url = page_url("connectors_erpconnection_change", sftp.id)

    def save(**fields: str) -> Any:
        response = client.post(url, SFTP_FORM | fields, follow=True)
        sftp.refresh_from_db()
        assert CANARY not in text(response)
        return response

    page = text(client.get(url))
    assert "One is set, since " in page
    assert CANARY not in page
    save(config_connect_timeout="20")
    assert sftp.config["password"] == CANARY
    assert sftp.config["connect_timeout"] == 20
    save(config_password=f"{CANARY}-2")
    assert sftp.config["password"] == f"{CANARY}-2"
    refused = save(config_password_clear="on")
    assert "Is required unless there is an ssh_key." in text(refused)
    assert sftp.config["password"] == f"{CANARY}-2"
    # A secret does not follow to another server.
    assert "Must be entered again because host changed." in text(save(config_host="evil.example"))
    assert sftp.config["host"] == "erp.example"


def test_the_history_says_what_was_changed_but_no_secret(sftp: ErpConnection, oskar: User) -> None:
    client = logged_in(oskar)
    url = page_url("connectors_erpconnection_change", sftp.id)
    changes = {"config_host": "new.example", "config_password": f"{CANARY}-2"}
    client.post(url, SFTP_FORM | changes)
    client.post(url, SFTP_FORM | {"config_host": "new.example", "active": ""})
    client.post(url, SFTP_FORM | {"config_host": "new.example", "active": ""})
    history = text(client.get(page_url("connectors_erpconnection_history", sftp.id)))
    assert "Host: erp.example → new.example; Password: replaced." in history
    assert "Changed Active." in history
    assert LogEntry.objects.filter(user=oskar).count() == 2
    assert CANARY not in history


def test_clearing_one_of_two_secrets(sftp: ErpConnection, oskar: User) -> None:
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
    )
    sftp.seal({**sftp.config, "ssh_key": key.decode()})
    sftp.save(update_fields=["config_encrypted"])
    data = SFTP_FORM | {"config_password_clear": "on"}
    logged_in(oskar).post(page_url("connectors_erpconnection_change", sftp.id), data)
    sftp.refresh_from_db()
    assert "password" not in sftp.config
    assert sftp.config["ssh_key"] == key.decode()


def test_changing_the_mode_drops_the_secrets_of_the_other(
    sftp: ErpConnection, oskar: User, folder: Path
) -> None:
    data = {
        "active": "on",
        "config_mode": "filesystem",
        "config_export_path": f"{folder}/out",
        "config_atomic_write": "on",
    }
    logged_in(oskar).post(page_url("connectors_erpconnection_change", sftp.id), data)
    sftp.refresh_from_db()
    assert sftp.config["mode"] == "filesystem"
    assert "password" not in sftp.config


def test_no_page_shows_a_secret(
    org: Org, sftp: ErpConnection, vera: User, oskar: User, root: Client
) -> None:
    circuit_breaker.record_failure(sftp, ConnectorError("AUTH_FAILED", detail=CANARY))
    urls = [
        page_url("connectors_erpconnection_changelist"),
        *(
            page_url(f"connectors_erpconnection_{name}", sftp.id)
            for name in ("change", "test", "pause", "resume", "history")
        ),
    ]
    for client in (root, logged_in(oskar), logged_in(vera)):
        for url in urls:
            assert CANARY not in text(client.get(url))
    page = text(logged_in(vera).get(urls[1]))
    assert "is set" in page
    assert "erp.example" in page


def test_the_dropzone_stays_while_exports_are_staged_there(
    org: Org, connection: ErpConnection, approver: User, oskar: User, folder: Path
) -> None:
    export = push_order(an_approved_order(org, approver).id, actor=approver)
    ErpExport.objects.filter(id=export.id).update(
        staged_path="/x", staged_at=timezone.now(), destination={"mode": "x"}
    )
    data = {
        "config_mode": "filesystem",
        "config_export_path": f"{folder}/acks",
        "config_atomic_write": "on",
    }
    url = page_url("connectors_erpconnection_change", connection.id)
    response = logged_in(oskar).post(url, data)
    (error,) = response.context["adminform"].form.errors["config_export_path"]
    assert export.filename in error
    connection.refresh_from_db()
    assert connection.config["export_path"] == f"{folder}/out"
    # What is not the dropzone's identity can still be changed.
    data |= {"config_export_path": f"{folder}/out", "config_file_mode": "0640"}
    assert logged_in(oskar).post(url, data).status_code == 302
    connection.refresh_from_db()
    assert (connection.config["file_mode"], connection.active) == ("0640", False)


def test_a_connection_whose_configuration_cannot_be_read_is_shown(
    sftp: ErpConnection, oskar: User, settings: Any
) -> None:
    ErpConnection.objects.filter(id=sftp.id).update(
        config_encrypted=ErpConnection._meta.get_field("config_encrypted").seal({}, owner=1)
    )
    client = logged_in(oskar)
    page = client.get(page_url("connectors_erpconnection_change", sftp.id))
    assert "belongs to another connection" in text(page)
    assert client.get(page_url("connectors_erpconnection_changelist")).status_code == 200


def _done(client: Client, url: str) -> str:
    """The page of a connection test that was asked for at `url`, once a worker has done it."""
    result = client.post(url, follow=True).redirect_chain[-1][0]
    connection_tests.run(UUID(result.split("/")[-2]))
    return text(client.get(result))


def test_the_test_shows_each_step(connection: ErpConnection, oskar: User, folder: Path) -> None:
    client = logged_in(oskar)
    url = page_url("connectors_erpconnection_test", connection.id)
    page = _done(client, url)
    assert "The connection works" in page
    for step in ("Export folder", "Write and sync", "Rename", "Delete", "Free space"):
        assert step in page
    connection.refresh_from_db()
    assert (connection.last_test_success, connection.is_paused) == (True, False)
    assert not list((folder / "out").iterdir())

    (folder / "out").rmdir()
    page = _done(client, url)
    assert "The test failed" in page
    assert "DIR_MISSING" in page
    assert "Who can fix it" in page
    connection.refresh_from_db()
    assert connection.last_test_success is False


def test_a_test_that_waits_says_for_what(
    connection: ErpConnection, oskar: User, vera: User
) -> None:
    client = logged_in(oskar)
    url = page_url("connectors_erpconnection_test", connection.id)
    page = client.post(url, follow=True)
    assert "No worker is running" in text(page)
    assert 'http-equiv="refresh"' in text(page)
    result = page.redirect_chain[-1][0]
    heartbeat.register()
    assert "waits for a worker" in text(client.get(result))
    # Asking again leads to the same test.
    assert client.post(url, follow=True).redirect_chain[-1][0] == result
    ConnectionTest.objects.update(requested_at=timezone.now() - timedelta(minutes=4))
    assert "did not end" in text(client.get(result))
    assert 'http-equiv="refresh"' not in text(client.get(result))
    assert client.post(url, follow=True).redirect_chain[-1][0] != result


def test_pin_the_host_key_that_was_shown(sftp: ErpConnection, oskar: User) -> None:
    client = logged_in(oskar)
    url = page_url("connectors_erpconnection_pin", sftp.id)
    assert client.get(url).status_code == 302
    ErpConnection.objects.filter(id=sftp.id).update(host_key_seen=HOST_KEY)
    page = text(client.get(url))
    assert page.count("SHA256:") == 2
    assert url in text(client.get(page_url("connectors_erpconnection_change", sftp.id)))
    client.post(url, {"host_key": OLD_HOST_KEY})
    sftp.refresh_from_db()
    assert sftp.config["host_keys"] == [OLD_HOST_KEY]
    client.post(url, {"host_key": HOST_KEY})
    sftp.refresh_from_db()
    assert sftp.config["host_keys"] == [HOST_KEY]
    assert sftp.config["password"] == CANARY


def test_the_fingerprint_is_the_one_that_ssh_shows() -> None:
    from connectors.dropzone.sftp import ssh

    assert HostKey.parse(HOST_KEY).fingerprint == ssh.fingerprint(HOST_KEY)
    assert HostKey.parse("nonsense").fingerprint == "unreadable"


def test_an_untested_connection_is_not_resumed(connection: ErpConnection, oskar: User) -> None:
    ErpConnection.objects.update(last_test_success=None)
    client = logged_in(oskar)
    client.post(page_url("connectors_erpconnection_pause", connection.id), {"reason": "Holiday"})
    page = client.post(page_url("connectors_erpconnection_resume", connection.id), follow=True)
    assert "resumes by itself when the test passes" in messages(page)[-1]
    connection.refresh_from_db()
    assert (connection.pause_code, connection.pause_text) == (NEVER_TESTED, "")
    assert connection.paused_by is None
    assert circuit_breaker.run_test(connection).success
    connection.refresh_from_db()
    assert not connection.is_paused


def test_pause_and_resume(connection: ErpConnection, oskar: User) -> None:
    assert circuit_breaker.run_test(connection).success
    client = logged_in(oskar)
    pause = page_url("connectors_erpconnection_pause", connection.id)
    assert "This field is required." in text(client.post(pause, {"reason": " "}))
    client.post(pause, {"reason": "ERP is down for the weekend"})
    connection.refresh_from_db()
    assert (connection.pause_reason, connection.paused_by) == (
        "ERP is down for the weekend",
        oskar,
    )
    page = text(client.get(page_url("connectors_erpconnection_change", connection.id)))
    assert "ERP is down for the weekend (oskar)" in page
    client.post(page_url("connectors_erpconnection_resume", connection.id))
    connection.refresh_from_db()
    assert not connection.is_paused


def test_deliver_now_lifts_what_put_it_off(
    org: Org, connection: ErpConnection, approver: User, oskar: User
) -> None:
    undecided, put_off = (
        push_order(an_approved_order(org, approver, number).id, actor=approver)
        for number in ("A", "B")
    )
    needs_a_decision(undecided, Path("/nowhere"))
    later = timezone.now() + timedelta(hours=1)
    ErpExport.objects.filter(id=put_off.id).update(next_attempt_at=later)
    client = logged_in(oskar)
    url = page_url("connectors_erpconnection_deliver", connection.id)
    assert "Waiting exports are sent when it resumes" in text(client.get(url))
    assert url not in text(client.get(page_url("connectors_erpconnection_change", connection.id)))
    page = client.post(url, follow=True)
    assert messages(page) == ["The connection is paused. Waiting exports are sent when it resumes."]
    assert circuit_breaker.run_test(connection).success
    ErpConnection.objects.update(retry_at=later, failures=3)
    assert url in text(client.get(page_url("connectors_erpconnection_change", connection.id)))
    assert "A file that was sent is not sent twice" in text(client.get(url))
    assert not due_connections().exists()
    page = client.post(url, follow=True)
    assert messages(page) == ["A worker sends the waiting exports now."]
    assert due_connections().get() == connection
    undecided.refresh_from_db()
    assert undecided.next_attempt_at is None
    event = put_off.events.last()
    assert event
    assert (event.kind, event.actor) == ("REQUESTED", oskar)
