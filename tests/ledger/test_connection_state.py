"""A connection's configuration and state: each has its writers, and no other touches it."""

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import Any

import pytest
from django.db import connection as database
from django.db import models

from accounts.models import User
from connectors import circuit_breaker, configuring
from connectors.errors import ConnectorError
from connectors.models import CONFIGURATION, ErpConnection
from connectors.models.state import OperationalState
from exports.acks.poller import poll
from exports.connections import change_config
from exports.delivery import dispatch
from exports.delivery.protocol import deliver
from tests.support.admins import logged_in, page_url
from tests.support.api import client, send
from tests.support.builders import some_exports

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]

STATE = {field.name: field for field in OperationalState._meta.local_fields}
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
# Which module writes which columns, as connectors/models/state.py and configuration.py say.
WRITERS = {
    "connectors.circuit_breaker": {
        *("last_test_at", "last_test_success", "capabilities", "host_key_seen"),
        *("paused_at", "paused_by_id", "pause_code", "pause_text"),
        *("failures", "failing_since", "retry_at", "last_error", "degraded_since"),
        "folder_missing_at",
    },
    "connectors.lease": {"lease_until"},
    "exports.delivery.dispatch": {"enqueued_at", "poll_due_at", "poll_enqueued_at"},
    "exports.delivery.protocol": {"enqueued_at"},
    "exports.acks.poller": {"last_poll_at", "ack_error", "poll_due_at", "poll_enqueued_at"},
    "connectors.configuring": {"config_encrypted", "secrets_set", "active", "ack_deadline"},
}


def some_state(actor: User) -> dict[str, Any]:
    """A value for each column of the state, which no new connection has."""
    by_type: dict[type[models.Field[Any, Any]], Any] = {
        models.DateTimeField: LONG_AGO,
        models.BooleanField: False,
        models.PositiveIntegerField: 7,
        models.JSONField: {"code": "DNS", "at": LONG_AGO.isoformat()},
        models.TextField: "marked",
        models.ForeignKey: actor,
    }
    return {name: by_type[type(field)] for name, field in STATE.items()}


def state() -> dict[str, Any]:
    row = ErpConnection.objects.get()
    return {name: getattr(row, name) for name in STATE}


@contextmanager
def meanwhile(change: Callable[[], Any]) -> Iterator[None]:
    """Make the change of another process just after the connection was first read."""
    is_made = False

    def look(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal is_made
        found = execute(sql, params, many, context)
        if not is_made and sql.startswith("SELECT") and 'FROM "erp_connection"' in sql:
            is_made = True
            change()
        return found

    with database.execute_wrapper(look):
        yield
    assert is_made


def by_object(erp: ErpConnection, oskar: User) -> None:
    stale = ErpConnection.objects.get()
    stale.active = False
    stale.save()


def by_deferring_object(erp: ErpConnection, oskar: User) -> None:
    stale = ErpConnection.objects.only("active", "failures").get()
    stale.active = False
    stale.save()


def by_service(erp: ErpConnection, oskar: User) -> None:
    stale = ErpConnection.objects.get()
    change_config(stale, {**stale.config, "file_mode": "0640"}, actor=oskar)
    configuring.change_settings(stale.id, actor=oskar, active=False)


def by_page(erp: ErpConnection, oskar: User) -> None:
    form = {
        "org": erp.org_id,
        "connector_type": erp.connector_type,
        "ack_deadline": "",
        **{f"config_{name}": value for name, value in erp.config.items()},
        "config_atomic_write": "on",
        "config_file_mode": "0640",
    }
    url = page_url("connectors_erpconnection_change", erp.id)
    assert logged_in(oskar).post(url, form).status_code == 302


def by_api(erp: ErpConnection, oskar: User) -> None:
    change = {"config": {"file_mode": "0640"}, "active": False}
    answer = send(client(oskar, erp.org), "PATCH", f"/api/v1/erp-connections/{erp.id}", change)
    assert answer.status_code == 200, answer.content


@pytest.mark.parametrize("way", [by_object, by_deferring_object, by_service, by_page, by_api])
def test_saving_a_configuration_leaves_the_state_alone(
    erp: ErpConnection, oskar: User, way: Callable[[ErpConnection, User], None]
) -> None:
    written = some_state(oskar)
    before = state()
    assert [name for name in STATE if before[name] == written[name]] == []
    with meanwhile(lambda: ErpConnection.objects.update(**written)):
        way(erp, oskar)
    assert state() == written
    erp.refresh_from_db()
    assert not erp.active


def test_an_object_writes_state_only_by_name(erp: ErpConnection) -> None:
    stale = ErpConnection.objects.get()
    stale.failures, stale.active = 3, False
    stale.save(update_fields=["failures"])
    erp.refresh_from_db()
    assert (erp.failures, erp.active) == (3, True)


def test_the_service_for_settings_takes_no_state(erp: ErpConnection, oskar: User) -> None:
    with pytest.raises(TypeError, match="lease_until"):
        configuring.change_settings(erp.id, actor=oskar, lease_until=None)


def test_every_column_has_one_side() -> None:
    columns = {field.name for field in ErpConnection._meta.concrete_fields}
    assert columns == CONFIGURATION | STATE.keys() | {"id", "created_at", "updated_at"}
    assert not CONFIGURATION & STATE.keys()


def test_each_column_is_written_by_its_module(erp: ErpConnection, oskar: User) -> None:
    seen: defaultdict[str, set[str]] = defaultdict(set)

    def look(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if found := re.match(r'UPDATE "erp_connection" SET (.*) WHERE', sql):
            columns = set(re.findall(r'(?:^|, )"(\w+)" = ', found[1])) - {"updated_at"}
            seen[_writer()] |= columns
        return execute(sql, params, many, context)

    with database.execute_wrapper(look):
        some_exports(erp.org, oskar)
        assert dispatch.wake(erp.id)
        assert deliver(erp.id).sent == 1
        dispatch.poll_now(erp.id)
        poll(erp.id)
        circuit_breaker.note_degraded(erp.id)
        circuit_breaker.record_failure(erp, ConnectorError("DNS"))
        circuit_breaker.record_failure(erp, ConnectorError("DIR_MISSING"))
        circuit_breaker.pause(erp.id, reason="Holiday", actor=oskar)
        circuit_breaker.run_test(erp)
        circuit_breaker.resume(erp.id)
        configuring.change_settings(erp.id, actor=oskar, active=True, ack_deadline=None)
        configuring.change_config(erp, {**erp.config, "export_path": erp.config["ack_path"]})
    assert seen.keys() == WRITERS.keys()
    for module, columns in seen.items():
        assert columns <= WRITERS[module], module
    assert STATE.keys() <= {name.removesuffix("_id") for names in seen.values() for name in names}


def _writer() -> str:
    """The module whose statement is being executed."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals["__name__"]
        if name.startswith(("connectors.", "exports.")) and ".models." not in name:
            return str(name)
        frame = frame.f_back
    raise AssertionError("nothing of the services is running")
