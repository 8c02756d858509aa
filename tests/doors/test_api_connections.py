"""The API of connections: set up, change, test, pause; secrets only go in."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection as database
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import Org
from connectors.models import ConnectionTest, ErpConnection
from connectors.secrets import MASK
from exports.models import ErpExport
from tests.support.api import (
    client,
    create_approved,
    error_at,
    person,
    post,
    refusal,
    send,
)
from worker.tasks import test_connection as run_test

pytestmark = pytest.mark.django_db

CONNECTIONS = "/api/v1/erp-connections"
SECRET = "4711-is-secret"
SFTP = {
    "mode": "sftp",
    "host": "sftp.example.com",
    "username": "acme",
    "password": SECRET,
    "export_path": "/exports",
}


@pytest.fixture
def operator_api(org: Org) -> APIClient:
    return client(person("oscar", org, "Operator"), org)


def set_up(api: APIClient, **changes: Any) -> str:
    body = {"connector_type": "DROPZONE_JSON_V1", "config": SFTP | changes}
    response = post(api, CONNECTIONS, body)
    assert response.status_code == 201, response.content
    return response["Location"]


def change(api: APIClient, path: str, **config: Any) -> dict[str, Any]:
    response = send(api, "PATCH", path, {"config": config})
    assert response.status_code == 200, response.content
    return response.json()["config"]


def stored() -> dict[str, Any]:
    return ErpConnection.objects.get().config


def test_a_connection_is_set_up_and_waits_for_its_test(operator_api: APIClient) -> None:
    body = {
        "connector_type": "DROPZONE_JSON_V1",
        "config": SFTP,
        "ack_deadline_seconds": 90_000,
        "active": False,
    }
    response = post(operator_api, CONNECTIONS, body)
    assert response.status_code == 201, response.content
    shown = response.json()
    assert response["Location"] == f"{CONNECTIONS}/{shown['id']}"
    assert shown == operator_api.get(response["Location"]).json()
    assert shown == operator_api.get(CONNECTIONS).json()["results"][0]
    assert shown["config"] == SFTP | {"password": MASK}
    assert (shown["active"], shown["ack_deadline_seconds"]) == (False, 90_000)
    assert (shown["pause_reason"], shown["last_test_success"]) == ("NEVER_TESTED", None)
    assert shown["pause_code"] == "NEVER_TESTED"
    assert stored() == SFTP


def test_a_second_connection_of_a_type_is_refused(operator_api: APIClient) -> None:
    first = set_up(operator_api)
    body = {"connector_type": "DROPZONE_JSON_V1", "config": SFTP}
    problem = refusal(post(operator_api, CONNECTIONS, body), 409, "CONNECTION_EXISTS")
    assert first.endswith(problem["connection"])


@pytest.mark.parametrize(
    ("config", "pointers"),
    [
        ({"mode": "ftp"}, {"/config/mode"}),
        ({"mode": []}, {"/config/mode"}),
        ({"mode": {"a": 1}}, {"/config/mode"}),
        ({"mode": "filesystem", "export_path": "/etc"}, {"/config/export_path"}),
        (SFTP | {"pasword": "x"}, {"/config/pasword"}),
        (SFTP | {"port": 0, "export_path": "x"}, {"/config/port", "/config/export_path"}),
        (SFTP | {"port": 22.5}, {"/config/port"}),
        (SFTP | {"port": "22"}, {"/config/port"}),
        (SFTP | {"connect_timeout": True}, {"/config/connect_timeout"}),
        (SFTP | {"host_keys": ["x"]}, {"/config/host_keys"}),
        (SFTP | {"password": {"a": 1}}, {"/config/password"}),
        (SFTP | {"export_path": "/a\x00b"}, {"/config/export_path"}),
        ([], {"/config"}),
        (None, {"/config"}),
    ],
)
def test_a_wrong_configuration_is_refused_field_by_field(
    operator_api: APIClient, config: Any, pointers: set[str]
) -> None:
    body = {"connector_type": "DROPZONE_JSON_V1", "config": config}
    assert error_at(post(operator_api, CONNECTIONS, body)).keys() == pointers
    path = set_up(operator_api)
    send(operator_api, "PATCH", path, {"config": config})
    assert stored() == SFTP


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"connector_type": "OTHER"}, {"/connector_type"}),
        ({"ack_deadline_seconds": 0}, {"/ack_deadline_seconds"}),
        ({"ack_deadline_seconds": 10**12}, {"/ack_deadline_seconds"}),
        ({"paused_at": None}, {"/paused_at"}),
        ({"active": "perhaps"}, {"/active"}),
    ],
)
def test_a_wrong_change_is_refused(
    operator_api: APIClient, changes: dict[str, Any], pointers: set[str]
) -> None:
    path = set_up(operator_api)
    before = operator_api.get(path).json()
    assert error_at(send(operator_api, "PATCH", path, changes)).keys() == pointers
    assert operator_api.get(path).json() == before


def test_a_change_names_only_what_changes(operator_api: APIClient) -> None:
    path = set_up(operator_api, ack_path="/acks")
    shown = change(operator_api, path, connect_timeout=5.5, ack_path=None, password=MASK)
    assert shown == SFTP | {"password": MASK, "connect_timeout": 5.5}
    assert stored() == SFTP | {"connect_timeout": 5.5}
    response = send(operator_api, "PATCH", path, {"active": False, "ack_deadline_seconds": 60})
    assert (response.json()["active"], response.json()["ack_deadline_seconds"]) == (False, 60)
    response = send(operator_api, "PATCH", path, {"ack_deadline_seconds": None})
    assert response.json()["ack_deadline_seconds"] is None
    assert stored() == SFTP | {"connect_timeout": 5.5}


def test_a_change_may_name_the_connector_type_it_has(operator_api: APIClient) -> None:
    path = set_up(operator_api)
    same = {"connector_type": "DROPZONE_JSON_V1"}
    history = LogEntry.objects.count()
    assert send(operator_api, "PATCH", path, same).status_code == 200
    assert LogEntry.objects.count() == history
    response = send(operator_api, "PATCH", path, same | {"active": False})
    assert response.status_code == 200
    assert response.json()["active"] is False
    assert LogEntry.objects.latest("id").change_message == "Changed active."


def test_a_secret_does_not_follow_to_another_server(operator_api: APIClient) -> None:
    path = set_up(operator_api)
    response = send(operator_api, "PATCH", path, {"config": {"host": "evil.example"}})
    assert error_at(response).keys() == {"/config/password"}
    change(operator_api, path, host="new.example", password="new")
    assert stored() == SFTP | {"host": "new.example", "password": "new"}
    response = send(operator_api, "PATCH", path, {"config": {"password": None}})
    assert error_at(response).keys() == {"/config/password"}


def test_another_mode_leaves_nothing_of_the_former_behind(
    operator_api: APIClient, dropzone_root: Path
) -> None:
    path = set_up(operator_api, port=2222)
    shown = change(operator_api, path, mode="filesystem", export_path=str(dropzone_root))
    assert shown == stored() == {"mode": "filesystem", "export_path": str(dropzone_root)}


def test_a_secret_is_nowhere_to_be_seen(operator_api: APIClient) -> None:
    path = set_up(operator_api)
    for response in (
        operator_api.get(path),
        operator_api.get(CONNECTIONS),
        send(operator_api, "PATCH", path, {"config": {"port": 0}}),
        post(operator_api, CONNECTIONS, {"connector_type": "DROPZONE_JSON_V1", "config": SFTP}),
        post(operator_api, f"{path}/test"),
    ):
        assert SECRET not in response.content.decode()


def test_only_what_was_read_is_changed(operator_api: APIClient) -> None:
    path = set_up(operator_api)
    read = operator_api.get(path)["ETag"]
    # How it is doing is nobody's edit.
    ErpConnection.objects.update(failures=3)
    assert operator_api.get(path)["ETag"] == read
    body = {"config": {"password": "new"}}
    assert send(operator_api, "PATCH", path, {"active": False}, if_match=read).status_code == 200
    refusal(send(operator_api, "PATCH", path, body, if_match=read), 412, "precondition_failed")
    assert stored() == SFTP
    read = operator_api.get(path)["ETag"]
    assert send(operator_api, "PATCH", path, body, if_match=read).status_code == 200
    body = {"config": {"password": "another"}}
    refusal(send(operator_api, "PATCH", path, body, if_match=read), 412, "precondition_failed")
    assert stored()["password"] == "new"


def test_the_dropzone_stays_while_exports_are_staged_there(
    operator_api: APIClient, owner: APIClient, connection: ErpConnection
) -> None:
    export = post(owner, f"{create_approved(owner)}/push").json()
    folder = connection.config["export_path"]
    ErpExport.objects.update(
        staged_path="x",
        staged_at=timezone.now(),
        destination={"mode": "filesystem", "folder": folder},
    )
    path = f"{CONNECTIONS}/{connection.id}"
    response = send(operator_api, "PATCH", path, {"config": {"export_path": f"{folder}/x"}})
    assert export["filename"] in error_at(response)["/config/export_path"]


def test_another_mode_is_refused_while_exports_are_staged(
    operator_api: APIClient, owner: APIClient, org: Org, dropzone_root: Path
) -> None:
    path = set_up(operator_api)
    post(owner, f"{create_approved(owner)}/push")
    staged = {"mode": "sftp", "host": SFTP["host"], "port": 22, "folder": SFTP["export_path"]}
    ErpExport.objects.update(staged_path="x", staged_at=timezone.now(), destination=staged)
    config = {"mode": "filesystem", "export_path": str(dropzone_root)}
    response = send(operator_api, "PATCH", path, {"config": config})
    assert "/config/mode" in error_at(response)
    assert stored() == SFTP


def test_a_test_is_asked_for_and_followed(
    operator_api: APIClient, connection: ErpConnection
) -> None:
    path = f"{CONNECTIONS}/{connection.id}"
    response = post(operator_api, f"{path}/test")
    assert response.status_code == 202
    assert (response["Retry-After"], response.json()["finished_at"]) == ("1", None)
    assert response["Location"] == f"{path}/tests/{response.json()['id']}"
    assert post(operator_api, f"{path}/test").json()["id"] == response.json()["id"]
    run_test(str(ConnectionTest.objects.get().id))
    done = operator_api.get(response["Location"]).json()
    assert (done["success"], done["is_lost"]) == (True, False)
    assert {"write and sync", "rename", "delete"} <= {step["name"] for step in done["steps"]}
    assert operator_api.get(path).json()["paused_at"] is None
    refusal(operator_api.get(f"{path}/tests/{uuid4()}"), 404, "not_found")
    refusal(operator_api.get(f"{path}/tests/x"), 404, "not_found")


def test_pause_and_resume(operator_api: APIClient, connection: ErpConnection) -> None:
    path = f"{CONNECTIONS}/{connection.id}"
    refusal(post(operator_api, f"{path}/resume"), 409, "NEVER_TESTED")
    ErpConnection.objects.update(last_test_success=True)
    assert post(operator_api, f"{path}/resume").json()["paused_at"] is None
    refusal(post(operator_api, f"{path}/resume"), 409, "NOT_PAUSED")
    assert error_at(post(operator_api, f"{path}/pause")).keys() == {"/reason"}
    paused = post(operator_api, f"{path}/pause", {"reason": "stocktaking"}).json()
    assert (paused["pause_reason"], paused["paused_by"]) == ("stocktaking", "oscar@acme.example")
    assert paused["pause_code"] == "BY_PERSON"
    assert operator_api.get(f"{CONNECTIONS}?paused=true&active=true").json()["results"] == [paused]
    assert operator_api.get(f"{CONNECTIONS}?paused=false").json()["results"] == []
    refusal(post(operator_api, f"{path}/pause", {"reason": "again"}), 409, "PAUSED")


def test_a_configuration_that_cannot_be_read_is_null_and_can_be_set_anew(
    operator_api: APIClient,
) -> None:
    path = set_up(operator_api)
    with database.cursor() as cursor:
        cursor.execute("UPDATE erp_connection SET config_encrypted = 'garbage'")
    assert operator_api.get(path).json()["config"] is None
    response = send(operator_api, "PATCH", path, {"config": {"port": 2222}})
    assert "/config/mode" in error_at(response)
    change(operator_api, path, **SFTP)
    assert stored() == SFTP


def test_the_history_says_who_has_done_what(operator_api: APIClient) -> None:
    path = set_up(operator_api)
    for method, action, body in (
        ("PATCH", "", {"config": {"host": "new.example", "password": "another"}, "active": False}),
        ("POST", "/pause", {"reason": "The ERP is being moved."}),
    ):
        assert send(operator_api, method, f"{path}{action}", body).status_code == 200
    told = LogEntry.objects.order_by("id").values_list("user__username", "change_message")
    assert list(told) == [
        ("oscar", "Set up."),
        ("oscar", "Host: sftp.example.com → new.example; Password: replaced."),
        ("oscar", "Changed active."),
        ("oscar", "Paused: The ERP is being moved."),
    ]
