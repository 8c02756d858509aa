"""Times that the database sets, on databases that keep them as texts too."""

import os
import socket
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from accounts.models import Org
from kernel.db import Now

pytestmark = [pytest.mark.django_db, pytest.mark.ledger]


def test_a_time_set_by_the_database_equals_itself() -> None:
    org = Org.objects.create(name="Acme", slug="acme")
    org.refresh_from_db()
    assert Org.objects.get(created_at=org.created_at) == org
    assert not Org.objects.filter(created_at__lt=org.created_at).exists()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="a time is a text on SQLite alone")
def test_so_does_a_whole_second() -> None:
    org = Org.objects.create(name="Acme", slug="acme")
    org.refresh_from_db()
    ends = datetime.now(UTC) + timedelta(seconds=30)
    while org.created_at.microsecond and datetime.now(UTC) < ends:
        Org.objects.update(created_at=Now())
        org.refresh_from_db()
    assert Org.objects.get(created_at=org.created_at.replace(microsecond=0)) == org


@pytest.mark.skipif(connection.vendor != "postgresql", reason="nothing lies in between")
def test_a_server_that_vanished_is_not_waited_for_for_hours() -> None:
    connection.ensure_connection()
    with socket.socket(fileno=os.dup(connection.connection.fileno())) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 60
        assert 0 < sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 120_000
    assert connection.get_connection_params()["connect_timeout"] <= 30
