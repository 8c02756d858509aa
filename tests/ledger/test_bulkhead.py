"""Dropzones that do not answer never take more than half of the workers."""

import time

import pytest
from django_q.models import OrmQ

from accounts.models import User
from connectors import circuit_breaker, lease
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from exports.delivery import bulkhead, heartbeat
from exports.delivery.dispatch import wake_due_connections
from exports.delivery.protocol import deliver
from tests.support.builders import a_connection, an_org, some_exports
from tests.support.dropzones import openssh_config
from tests.support.servers import OpenSSHServer, TcpProxy

pytestmark = pytest.mark.django_db


def connections(count: int, *, failures: int = 1) -> list[ErpConnection]:
    """Connections that lead nowhere, each of an org of its own."""
    made = [
        a_connection(
            an_org(f"org-{number}"),
            {"mode": "sftp", "host": "erp.invalid", "username": "u", "password": "p"}
            | {"export_path": "/out"},
        )
        for number in range(count)
    ]
    ErpConnection.objects.update(failures=failures)
    return made


def test_degraded_connections_get_half_of_the_workers() -> None:
    assert bulkhead.width() == 1
    heartbeat.register()
    heartbeat.register()
    assert heartbeat.count_processes() == 4
    assert bulkhead.width() == 2


def test_a_failing_connection_waits_while_no_degraded_slot_is_free() -> None:
    first, second = connections(2)
    held = bulkhead.acquire(first.id)
    assert held
    assert bulkhead.acquire(second.id) is None
    assert ErpConnection.objects.get(id=second.id).lease_until is None
    held.release()
    assert bulkhead.acquire(second.id)


def test_a_healthy_connection_never_waits_for_failing_ones() -> None:
    failing, healthy = connections(2)
    ErpConnection.objects.filter(id=healthy.id).update(failures=0)
    assert bulkhead.acquire(failing.id)
    assert bulkhead.acquire(healthy.id)


def test_no_more_failing_connections_are_enqueued_than_can_be_served(ann: User) -> None:
    for connection in connections(3):
        some_exports(connection.org, ann)
    OrmQ.objects.all().delete()
    ErpConnection.objects.update(enqueued_at=None)
    assert wake_due_connections() == 1
    ErpConnection.objects.update(enqueued_at=None, failures=0)
    assert wake_due_connections() == 3


def a_silent_server(server: OpenSSHServer, proxy: TcpProxy) -> ErpConnection:
    config = openssh_config(server, port=proxy.port, connect_timeout=5)
    return a_connection(an_org("silent"), config)


def test_a_silent_server_costs_a_worker_little_while_no_degraded_slot_is_free(
    ann: User, openssh: OpenSSHServer
) -> None:
    (failing,) = connections(1)
    assert lease.acquire(failing.id)
    with TcpProxy(openssh.host, openssh.port) as proxy:
        proxy.stall()
        silent = a_silent_server(openssh, proxy)
        some_exports(silent.org, ann)
        began = time.monotonic()
        assert not deliver(silent.id).errors
        assert time.monotonic() - began < 4.5
    silent.refresh_from_db()
    assert silent.degraded_since
    assert silent.failures == 0, "an impatient worker has nothing to complain about"
    assert deliver(silent.id).is_busy


def test_with_a_free_degraded_slot_the_server_gets_its_time(
    ann: User, openssh: OpenSSHServer
) -> None:
    with TcpProxy(openssh.host, openssh.port) as proxy:
        proxy.stall()
        silent = a_silent_server(openssh, proxy)
        some_exports(silent.org, ann)
        assert deliver(silent.id).errors == {"CONNECT_TIMEOUT": 1}
        silent.refresh_from_db()
        assert silent.failures == 1
        proxy.resume()
        ErpConnection.objects.update(retry_at=None)
        assert deliver(silent.id).sent == 1
    silent.refresh_from_db()
    assert silent.degraded_since is None


def test_a_server_that_is_known_to_be_slow_is_waited_for(openssh: OpenSSHServer) -> None:
    with TcpProxy(openssh.host, openssh.port, latency=0.15) as proxy:
        far = a_connection(an_org("far"), openssh_config(openssh, port=proxy.port))
        assert circuit_breaker.run_test(far).success
        far.refresh_from_db()
        assert far.capabilities["reach_ms"] > 1000
        with bulkhead.open_session(far) as session:
            assert list(session.listing()) == []
        far.refresh_from_db()
        assert far.degraded_since is None


def test_other_errors_do_not_degrade_a_connection(openssh: OpenSSHServer) -> None:
    connection = a_connection(
        an_org("refused"), openssh_config(openssh, password="wrong", ssh_key="")
    )
    with pytest.raises(ConnectorError, match="AUTH_METHOD"), bulkhead.open_session(connection):
        pass
    connection.refresh_from_db()
    assert connection.degraded_since is None
