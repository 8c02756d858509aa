"""Delivery to an OpenSSH server that itself fails, hangs or dies in the middle of a request."""

import time
from collections.abc import Callable

import pytest

from accounts.models import Org, User
from connectors.models import ErpConnection
from exports import janitor
from exports.delivery import deliver
from exports.models import ErpExport
from orderflow.db import db_now
from tests.builders import a_connection, a_user, an_org, some_exports
from tests.dropzones import openssh_config
from tests.servers import OpenSSHServer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("breakable")]


@pytest.fixture
def org() -> Org:
    return an_org()


@pytest.fixture
def ann(org: Org) -> User:
    return a_user(org)


def make_due() -> None:
    ErpExport.objects.filter(status="PENDING").update(next_attempt_at=db_now())
    ErpConnection.objects.update(retry_at=None)


def names(server: OpenSSHServer) -> list[str]:
    return sorted(path.name for path in (server.root / "exports").iterdir())


def eventually(is_so: Callable[[], bool], seconds: float = 10) -> None:
    ends = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_a_server_that_hangs_between_link_and_unlink_keeps_the_file(org: Org, ann: User) -> None:
    """Whoever resumes meanwhile must leave the staged name to that server's own unlink."""
    with OpenSSHServer(
        sftp_server_args=["-P", "posix-rename"], injected=["link:delay_exit=2000000"]
    ) as server:
        connection = a_connection(org, openssh_config(server, operation_timeout=1))
        (export,) = some_exports(org, ann)
        assert deliver(connection.id).errors == {"CONNECTION_LOST": 1}
        assert len(names(server)) == 2
        make_due()
        assert deliver(connection.id).sent == 1
        eventually(lambda: len(names(server)) == 1)
        assert names(server) == [export.filename]


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_server_that_dies_between_link_and_unlink(org: Org, ann: User, is_taken: bool) -> None:
    with OpenSSHServer(
        sftp_server_args=["-P", "posix-rename"], injected=["unlink:signal=KILL"]
    ) as server:
        connection = a_connection(org, openssh_config(server))
        (export,) = some_exports(org, ann)
        assert deliver(connection.id).errors == {"CONNECTION_LOST": 1}
        server.restart(injected=())
        make_due()
        assert deliver(connection.id).sent == 1
        if is_taken:
            (server.root / "exports" / export.filename).unlink()
        janitor.sweep(settled_after=-janitor.SETTLED_AFTER)
        assert names(server) == [export.filename] * (not is_taken)
