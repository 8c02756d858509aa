"""Log lines: one for each event, as JSON, with the ids that tell what belongs together."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import transaction
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import ApiToken, Org, User
from connectors.models import ErpConnection
from exports.delivery.protocol import deliver
from exports.models import ErpExport
from exports.pushing.push import cancel_export, push_order
from kernel.logs import log_context
from tests.support.api import EXPORTS, ORDERS, create_approved, post
from tests.support.builders import a_connection, a_user, an_approved_order, an_org, some_exports
from tests.support.logs import Log, logged
from tests.support.processes import ROOT


@pytest.fixture
def log() -> Iterator[Log]:
    with logged() as log:
        yield log


def test_an_event_is_one_line_whatever_is_in_it(log: Log) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("x").exception("a name\r\n{} \x1b[31m", extra={"export_id": 1})
    (line,) = log.lines
    assert line["message"] == "a name\r\n{} \x1b[31m"
    assert "ValueError: two\nlines" in line["exc_info"]
    assert (line["level"], line["logger"], line["export_id"]) == ("ERROR", "x", 1)
    assert line["at"].endswith("+00:00")


def test_lines_carry_what_they_are_about(log: Log) -> None:
    logger = logging.getLogger("x")
    with log_context(org_id=1, connection_id=2):
        with log_context(connection_id=3):
            logger.warning("inner")
            logger.warning("its own", extra={"connection_id": 4})
        logger.warning("outer")
    logger.warning("outside")
    ids = [(line.get("org_id"), line.get("connection_id")) for line in log.lines]
    assert ids == [("1", "3"), ("1", 4), ("1", "2"), (None, None)]


# Requests.


@pytest.mark.django_db
def test_a_request_is_one_line(owner: APIClient, log: Log) -> None:
    response = owner.get(f"{ORDERS}/x?search=private")
    (line,) = log.lines
    assert line["message"] == f"GET {ORDERS}/x 404"
    assert (line["method"], line["path"], line["status"]) == ("GET", f"{ORDERS}/x", 404)
    assert line["request_id"] == response["X-Request-ID"]
    token = ApiToken.objects.get()
    assert (line["token_id"], line["user_id"]) == (str(token.id), token.user_id)
    assert line["org_id"] == str(token.org_id)
    assert 0 < line["ms"] < 60_000
    assert "private" not in str(line)


@pytest.mark.django_db
def test_a_visitor_is_named_only_when_known(client: Client, log: Log) -> None:
    client.get("/admin/x%0D%0AX:%20y")
    root = User.objects.create_superuser("root")
    client.force_login(root)
    client.get("/admin/")
    stranger, known = log.of("orderflow.middleware")
    assert "user_id" not in stranger
    assert stranger["path"] == "/admin/x%0D%0AX:%20y"
    assert known["user_id"] == root.pk


# Exports.


@pytest.mark.django_db(transaction=True)
def test_what_becomes_of_an_export_is_logged_with_its_ids(
    dropzone_root: Path, log: Log, org: Org
) -> None:
    ann = a_user(org)
    erp = a_connection(org, {"mode": "filesystem", "export_path": str(dropzone_root)})
    (export,) = some_exports(org, ann)
    deliver(erp.id)
    lines = log.of("exports.lifecycle")
    assert [line["message"] for line in lines] == [
        f"export {export.id}: CREATED",
        f"export {export.id}: SENT",
    ]
    ids = {"export_id": str(export.id), "connection_id": str(erp.id), "org_id": str(org.id)}
    assert all(ids.items() <= line.items() for line in lines)


@pytest.mark.django_db(transaction=True)
def test_an_error_that_nothing_raised_is_found_by_its_correlation_id(
    dropzone_root: Path, log: Log, org: Org
) -> None:
    ann = a_user(org)
    a_connection(org, {"mode": "filesystem", "export_path": str(dropzone_root)})
    (export,) = some_exports(org, ann)
    cancel_export(export.id, actor=ann)
    export.refresh_from_db()
    correlation_id = export.error_json["correlation_id"]
    line = log.of("exports.lifecycle")[-1]
    assert line["message"] == f"export {export.id}: CANCELLED [{correlation_id}]"


@pytest.mark.django_db(transaction=True)
def test_what_is_taken_back_is_not_logged(log: Log, org: Org, dropzone_root: Path) -> None:
    ann = a_user(org)
    a_connection(org, {"mode": "filesystem", "export_path": str(dropzone_root)})
    order = an_approved_order(org, ann)
    with transaction.atomic():
        push_order(order.id, actor=ann)
        transaction.set_rollback(True)
    assert log.of("exports.lifecycle") == []


@pytest.mark.django_db(transaction=True)
def test_a_push_by_a_service_leads_to_its_export(
    owner: APIClient, connection: ErpConnection, log: Log
) -> None:
    response = post(owner, f"{create_approved(owner)}/push")
    (line,) = log.of("exports.lifecycle")
    assert line["request_id"] == response["X-Request-ID"]
    assert f"{EXPORTS}/{line['export_id']}" == response["Location"]


@pytest.mark.django_db(transaction=True)
def test_a_failed_delivery_says_whose_it_is(log: Log, dropzone_root: Path) -> None:
    org = an_org()
    erp = a_connection(org, {"mode": "filesystem", "export_path": f"{dropzone_root}/missing"})
    some_exports(org, a_user(org))
    deliver(erp.id)
    (line,) = log.of("connectors.circuit_breaker")
    assert (line["connection_id"], line["org_id"]) == (str(erp.id), str(org.id))
    assert ErpExport.objects.get().error_json["correlation_id"] in line["message"]


# The setting.


@pytest.mark.parametrize(
    ("chosen", "ends_well"),
    [({"LOG_FORMAT": "json"}, True), ({"LOG_FORMAT": "xml"}, False)],
)
def test_the_format_is_chosen_by_the_environment(
    child_env: dict[str, str], chosen: dict[str, str], ends_well: bool
) -> None:
    program = "import django, logging; django.setup(); logging.getLogger('x').warning('one\\ntwo')"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=child_env | chosen,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode == 0) == ends_well
    if ends_well:
        assert json.loads(ended.stderr)["message"] == "one\ntwo"
    else:
        assert "LOG_FORMAT" in ended.stderr
