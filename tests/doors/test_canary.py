"""Secrets that go in by every door come out by none: no answer, no page, no log, no table."""

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from accounts.models import Org, User
from accounts.tokens import create_token
from connectors.models import ConnectionTest, ErpConnection
from exports import connection_tests
from exports.delivery.protocol import deliver
from tests.support.api import EXPORTS, bearer, create_approved, post, send
from tests.support.dropzones import asyncssh_config
from tests.support.logs import Log, logged
from tests.support.servers import AsyncSSHServer
from tests.support.servers.keys import new_key
from tests.support.tables import values

pytestmark = pytest.mark.django_db(transaction=True)

CONNECTIONS = "/api/v1/erp-connections"
RIGHT, WRONG = "canary/right+4711", "canary/wrong+4711"
PASSPHRASE, METRICS = "canary/passphrase+4711", "canary/metrics+4711" + 16 * "x"


def shapes(secret: str) -> Iterator[bytes]:
    """How a secret may look where it has leaked."""
    raw = secret.encode()
    yield raw
    yield quote(secret, safe="").encode()
    yield raw.hex().encode()
    yield json.dumps(secret).strip('"').encode()
    for shift in range(3):
        # Without its ends, which depend on what stands before and after it.
        yield base64.b64encode(shift * b"-" + raw)[4 * bool(shift) : -4]


def leaks(secrets: list[str], text: bytes) -> list[bytes]:
    return [shape for secret in secrets for shape in shapes(secret) if shape in text]


def dump() -> bytes:
    """Everything in the database."""
    return b"\n".join(value for _, value in values())


class Doors:
    """The API and the admin, and every answer that they gave."""

    def __init__(self, org: Org) -> None:
        root = User.objects.create_superuser("root")
        org.users.add(root)
        _, self.token = create_token(root, org=org, name="test")
        self.api = bearer(self.token)
        self.admin = Client()
        self.admin.force_login(root)
        self.api.raise_request_exception = self.admin.raise_request_exception = False
        self.answers: list[Any] = []
        self.session = self.admin.cookies["sessionid"].value
        for client in (self.api, self.admin):
            self._listen(client)

    def _listen(self, client: APIClient | Client) -> None:
        ask = client.request

        def listening(**request: Any) -> Any:
            response = ask(**request)
            self.answers.append(response)
            return response

        client.request = listening  # type: ignore[method-assign]

    def text(self) -> bytes:
        parts = []
        for response in self.answers:
            body = b"".join(response) if response.streaming else response.content
            parts += [str(response.headers).encode(), str(response.cookies).encode(), body]
        return b"\n".join(parts)


@pytest.fixture
def doors(org: Org) -> Doors:
    return Doors(org)


@pytest.fixture
def debug_log() -> Iterator[Log]:
    with logged("DEBUG") as debug_log:
        yield debug_log


@pytest.fixture
def server() -> Iterator[AsyncSSHServer]:
    with AsyncSSHServer(password=RIGHT) as server:
        yield server


def outcome_of_test(api: APIClient, path: str) -> dict[str, Any]:
    location = post(api, f"{path}/test")["Location"]
    connection_tests.run(ConnectionTest.objects.latest("requested_at").id)
    return api.get(location).json()


def test_a_leak_would_be_seen() -> None:
    for text in (
        RIGHT.encode(),
        b"password=" + quote(RIGHT, safe="").encode(),
        *(base64.b64encode(before + RIGHT.encode() + b"...") for before in (b"", b"a", b"ab")),
    ):
        assert leaks([RIGHT], text), text
    assert not leaks([RIGHT], WRONG.encode())


def test_no_secret_comes_out(
    doors: Doors,
    debug_log: Log,
    server: AsyncSSHServer,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.METRICS_TOKEN = METRICS
    api, admin = doors.api, doors.admin
    key = new_key()
    config = asyncssh_config(server)

    # RuleViolation, in every way that a body can be wrong; and a defect of ours.
    for wrong in ({"port": 0}, {"ssh_key": PASSPHRASE}, {"unknown": RIGHT}, {RIGHT[:6]: 1}):
        body = {"connector_type": "DROPZONE_JSON_V1", "config": config | wrong}
        assert post(api, CONNECTIONS, body).status_code == 400
    assert post(api, CONNECTIONS, json.dumps(body)[:-1]).status_code == 400
    with monkeypatch.context() as patch:
        patch.setattr("connectors.configuring.ErpConnection", None)
        assert post(api, CONNECTIONS, body | {"config": config}).status_code == 500

    # Set up, tested and delivered with.
    path = post(
        api,
        CONNECTIONS,
        {"connector_type": "DROPZONE_JSON_V1", "config": config},
        idempotency_key="once",
    )["Location"]
    assert outcome_of_test(api, path)["success"]
    connection = ErpConnection.objects.get()
    export = post(api, f"{create_approved(api)}/push")["Location"]
    assert deliver(connection.id).sent == 1

    # Replaced in the admin by wrong ones, which fail.
    page = reverse("admin:connectors_erpconnection_change", args=[connection.id])
    form = {
        "active": "on",
        "config_mode": "sftp",
        "config_host": server.host,
        "config_port": server.port,
        "config_username": server.username,
        "config_host_keys": server.host_key,
        "config_export_path": "/exports",
        "config_atomic_write": "on",
    }
    assert (
        admin.post(page, form | {"config_port": "0", "config_password": WRONG}).status_code == 200
    )
    assert admin.post(page, form | {"config_password": WRONG}).status_code == 302
    connection.refresh_from_db()
    assert connection.config["password"] == WRONG
    order = create_approved(api, external_order_number="PO-2")
    failed = post(api, f"{order}/push")["Location"]
    ErpConnection.objects.update(paused_at=None, pause_code="")
    assert deliver(connection.id).errors == {"AUTH_FAILED": 1}
    assert not outcome_of_test(api, path)["success"]
    with_key = {"config": {"ssh_key": key, "key_passphrase": PASSPHRASE}}
    assert send(api, "PATCH", path, with_key).status_code == 200

    # Looked at.
    for address in (path, export, f"{export}/events", failed, f"{failed}/events", EXPORTS):
        assert api.get(address).status_code == 200
    for name in ("connectors_erpconnection", "exports_erpexport", "accounts_apitoken"):
        assert admin.get(reverse(f"admin:{name}_changelist")).status_code == 200
    assert admin.get(page).status_code == 200
    assert admin.get(reverse("admin:connectors_erpconnection_history", args=[connection.id]))
    assert admin.get(reverse("admin:exports_erpexport_change", args=[failed.rpartition("/")[2]]))
    scrape = admin.get("/metrics", headers={"Authorization": f"Bearer {METRICS}"})
    assert scrape.status_code == 200

    secrets = [RIGHT, WRONG, PASSPHRASE, METRICS, doors.token, key.splitlines()[2]]
    assert leaks(secrets, doors.text()) == []
    assert leaks([*secrets, doors.session], debug_log.text.encode()) == []
    assert leaks(secrets, dump()) == []
    # What is looked through is what it should be.
    assert b"AUTH_FAILED" in doors.text() and b"AUTH_FAILED" in dump()
    assert "AUTH_FAILED" in debug_log.text and "Traceback" in debug_log.text
    assert len(debug_log.of("orderflow.middleware")) == len(doors.answers)
