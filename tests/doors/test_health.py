"""Health checks of web process and worker, with the database up, not migrated, down and silent."""

import time
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection as database
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from exports.delivery import heartbeat
from kernel.db import db_now
from orderflow import health
from tests.support.api import refusal
from tests.support.servers import TcpProxy
from tests.support.waiting import until


@pytest.fixture
def probe() -> Client:
    """As a container's platform asks: over plain HTTP, by an address that is no host of ours."""
    return Client(headers={"Host": "10.1.2.3:8000"})


@pytest.fixture
def proxy(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[TcpProxy]:
    """What new connections to the database go through."""
    if database.vendor != "postgresql":
        pytest.skip("SQLite is not reached over a network")
    database.ensure_connection()
    way = connections.settings["default"]
    with TcpProxy(way["HOST"], int(way["PORT"])) as proxy:
        monkeypatch.setitem(way, "PORT", proxy.port)
        yield proxy


def test_a_process_is_alive_without_a_database(probe: Client, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    response = probe.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "alive"})


@pytest.mark.django_db(transaction=True)
def test_it_is_ready_with_every_migration(probe: Client) -> None:
    assert probe.get("/readyz").json() == {"status": "ready"}
    row = MigrationRecorder.Migration.objects.filter(app="exports").latest("id")
    row.delete()
    try:
        assert "migrate" in refusal(probe.get("/readyz"), 503, "not_ready")["detail"]
    finally:
        row.save(force_insert=True)


def test_a_database_that_refuses_is_noticed(probe: Client, proxy: TcpProxy) -> None:
    assert probe.get("/readyz").status_code == 200
    proxy.refuse()
    problem = refusal(probe.get("/readyz"), 503, "not_ready")
    assert str(proxy.port) not in problem["detail"]
    proxy.resume()
    assert probe.get("/readyz").status_code == 200


def test_a_database_that_hangs_is_noticed_in_time(
    probe: Client, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_DEADLINE_SECONDS", 0.5)
    proxy.stall()
    for _ in range(3):
        began = time.monotonic()
        refusal(probe.get("/readyz"), 503, "not_ready")
        assert time.monotonic() - began < 3
        assert probe.get("/healthz").status_code == 200
    proxy.resume()
    until(
        lambda: probe.get("/readyz").status_code == 200,
        "it has not noticed that the database is back",
    )


@pytest.mark.ledger
@pytest.mark.django_db
def test_a_worker_is_healthy_while_its_heart_beats() -> None:
    def healthy() -> str:
        out = StringIO()
        call_command("worker_health", stdout=out)
        return out.getvalue()

    with pytest.raises(CommandError, match="No worker"):
        healthy()
    worker = heartbeat.register()
    assert "1 alive" in healthy()
    type(worker).objects.update(host="elsewhere")
    with pytest.raises(CommandError, match="No worker"):
        healthy()
    type(worker).objects.update(host=worker.host, beat_at=db_now() - 2 * heartbeat._DEAD_AFTER)
    with pytest.raises(CommandError, match="No worker"):
        healthy()
