"""Servers with few sessions: a full server is not a wrong password and pauses no connection."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django_q.models import OrmQ

from connectors import circuit_breaker
from connectors.dropzone.connector import DropzoneJsonV1Connector
from connectors.dropzone.sftp import ssh
from connectors.dropzone.sftp.transport import Transport
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from exports.delivery.protocol import deliver
from exports.models import ErpExport
from tests.support.builders import a_connection, a_user, an_org, some_exports
from tests.support.dropzones import asyncssh_config, openssh_config, proftpd_config
from tests.support.processes import worker
from tests.support.servers import AsyncSSHServer, OpenSSHServer, ProFTPDServer
from tests.support.servers.keys import new_key
from tests.support.waiting import until

connector = DropzoneJsonV1Connector()

FULL = (
    "The server accepts no further session. "
    "The server says: “Maximum connections for host/user reached”."
)


def failure(config: dict[str, Any]) -> ConnectorError:
    with pytest.raises(ConnectorError) as raised:
        ssh.connect(connector.parse_config(config), denied=[])
    return raised.value


@pytest.mark.parametrize("option", ["MaxClientsPerUser", "MaxClients", "MaxConnectionsPerHost"])
def test_a_full_proftpd_is_no_wrong_password(
    proftpd: Callable[..., ProFTPDServer], option: str
) -> None:
    """Not by chance: it sends DISCONNECT while the client is still about to log in, or later."""
    with proftpd(config=[f"{option} 1"]) as server:
        config = proftpd_config(server)
        with connector.open(connector.parse_config(config)) as session:
            assert list(session.listing()) == []
            said = Counter(
                (error.code, error.message) for error in (failure(config) for _ in range(15))
            )
        assert said == {("TOO_MANY_SESSIONS", FULL): 15}


@pytest.mark.parametrize("options", [[], ["MaxClientsPerUser 1"], ["MaxLoginAttempts 1"]])
def test_a_wrong_password_of_proftpd_stays_one(
    proftpd: Callable[..., ProFTPDServer], options: list[str]
) -> None:
    with proftpd(config=options) as server:
        config = proftpd_config(server, password="wrong")
        assert {failure(config).code for _ in range(5)} == {"AUTH_FAILED"}


@pytest.mark.django_db(transaction=True)
def test_a_full_server_pauses_nothing(proftpd: Callable[..., ProFTPDServer]) -> None:
    org = an_org()
    ann = a_user(org)
    with proftpd(config=["MaxClientsPerUser 1"]) as server:
        config = proftpd_config(server)
        erp = a_connection(org, config)
        (export,) = some_exports(org, ann)
        with connector.open(connector.parse_config(config)):
            deliver(erp.id)
        erp.refresh_from_db()
        export.refresh_from_db()
        assert not erp.is_paused
        assert erp.retry_at
        assert (erp.failures, export.status, export.attempts) == (1, "PENDING", 0)
        assert erp.last_error
        assert erp.last_error["code"] == "TOO_MANY_SESSIONS"
        assert erp.last_error["message"] == FULL
        circuit_breaker.retry_now(erp.id)
        deliver(erp.id)
        export.refresh_from_db()
        assert export.status == "SENT"


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_two_worker_processes_and_one_session(
    proftpd: Callable[..., ProFTPDServer], child_env: dict[str, str]
) -> None:
    """The one that has no session waits until the other has closed its idle one."""
    org = an_org()
    ann = a_user(org)
    with proftpd(config=["MaxClientsPerUser 1"]) as server:
        erp = a_connection(org, proftpd_config(server))
        with worker({**child_env, "WORKERS": "2"}):
            for number in range(12):
                some_exports(org, ann, first=number)
                until(lambda: not OrmQ.objects.exists(), "no worker takes it", seconds=60)
            until(lambda: not ErpExport.objects.exclude(status="SENT").exists(), seconds=240)
            assert not ErpConnection.objects.get(id=erp.id).is_paused
        assert len(list((server.root / "exports").iterdir())) == 12
        assert "Connection refused (MaxClientsPerUser 1)" in server.log


TOO_MANY, BY_APPLICATION, PROTOCOL_ERROR, NOT_AVAILABLE = 12, 11, 2, 7


@pytest.mark.parametrize(
    ("step", "reason", "words", "code"),
    [
        ("begin_auth", TOO_MANY, "One at a time", "TOO_MANY_SESSIONS"),
        ("password", TOO_MANY, "One at a time", "TOO_MANY_SESSIONS"),
        ("auth_completed", TOO_MANY, "One at a time", "TOO_MANY_SESSIONS"),
        ("session", TOO_MANY, "One at a time", "TOO_MANY_SESSIONS"),
        # After a successful login, no other error means a wrong password.
        ("auth_completed", BY_APPLICATION, "Bye", "TOO_MANY_SESSIONS"),
        ("session", BY_APPLICATION, "Bye", "TOO_MANY_SESSIONS"),
        # Other codes, clear words.
        ("password", BY_APPLICATION, "Too many sessions for erp", "TOO_MANY_SESSIONS"),
        ("password", PROTOCOL_ERROR, "Maximum number of users reached", "TOO_MANY_SESSIONS"),
        # These are about the password.
        ("password", PROTOCOL_ERROR, "Too many authentication failures", "AUTH_FAILED"),
        ("password", BY_APPLICATION, "Too many login attempts of this user", "AUTH_FAILED"),
        ("password", BY_APPLICATION, "Bye", "AUTH_FAILED"),
        # And these about neither.
        ("begin_auth", NOT_AVAILABLE, "Going down for maintenance", "CONNECTION_LOST"),
    ],
)
def test_how_a_server_ends_a_login(
    asyncssh_server: AsyncSSHServer, step: Any, reason: int, words: str, code: str
) -> None:
    asyncssh_server.faults.dismiss_at = step
    asyncssh_server.faults.dismissal = (reason, words)
    for _ in range(3):
        error = failure(asyncssh_config(asyncssh_server))
        assert error.code == code, error.detail
        assert error.message.endswith(f"The server says: “{words}”.")


def test_a_dismissal_before_the_caller_looks_at_the_login(
    asyncssh_server: AsyncSSHServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in = Transport.auth_password

    def log_in_and_doze(transport: Transport, *args: Any) -> Any:
        allowed = log_in(transport, *args)
        until(lambda: not transport.is_active())
        return allowed

    monkeypatch.setattr(Transport, "auth_password", log_in_and_doze)
    asyncssh_server.faults.dismiss_at = "auth_completed"
    codes = {failure(asyncssh_config(asyncssh_server)).code for _ in range(3)}
    assert codes == {"TOO_MANY_SESSIONS"}


def test_a_dismissal_that_is_read_after_a_write_has_failed(
    asyncssh_server: AsyncSSHServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = Transport._parse_disconnect
    has_failed = threading.Event()

    def parse_late(transport: Transport, message: Any) -> None:
        assert has_failed.wait(20)
        parse(transport, message)

    def fail(transport: Transport, **options: Any) -> None:
        has_failed.set()
        raise EOFError

    monkeypatch.setattr(Transport, "_parse_disconnect", parse_late)
    monkeypatch.setattr(Transport, "open_session", fail)
    asyncssh_server.faults.dismiss_at = "auth_completed"
    error = failure(asyncssh_config(asyncssh_server))
    assert error.code == "TOO_MANY_SESSIONS", error.detail


def test_the_words_of_a_server_are_clipped_and_made_harmless(
    asyncssh_server: AsyncSSHServer,
) -> None:
    asyncssh_server.faults.dismiss_at = "auth_completed"
    asyncssh_server.faults.dismissal = (TOO_MANY, "Voll\x1b[31m\n\u202e zuviel\x00 " + "x" * 5000)
    error = failure(asyncssh_config(asyncssh_server))
    assert "“Voll [31m zuviel xxx" in error.message
    assert error.message.isprintable()
    assert len(error.message) < 300
    assert len(error.detail) < 2000


def test_a_server_that_opens_no_channel_says_why() -> None:
    with OpenSSHServer(config=["MaxSessions 0"]) as server:
        error = failure(openssh_config(server))
    assert error.code == "TOO_MANY_SESSIONS"
    assert error.message.endswith("The server says: “open failed”.")


def test_a_dismissal_after_a_refused_key_and_password(
    proftpd: Callable[..., ProFTPDServer],
) -> None:
    with proftpd(config=["MaxLoginAttempts 2"]) as server:
        config = proftpd_config(server, password="wrong", ssh_key=new_key())
        assert {failure(config).code for _ in range(5)} <= {"AUTH_FAILED", "AUTH_METHOD"}
