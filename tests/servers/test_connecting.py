"""Reaching an SFTP server: every way in which it fails has its own code, and no secret leaks."""

import resource
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import paramiko
import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings
from paramiko.common import cMSG_USERAUTH_REQUEST
from paramiko.transport import ServiceRequestingTransport

from connectors.dropzone.connector import DropzoneJsonV1Connector, pool
from connectors.dropzone.sftp import ssh
from connectors.dropzone.sftp.transport import Transport
from connectors.errors import ConnectorError
from connectors.port import ConnectionReport, ReportStep
from tests.support.builders import a_connection, an_org
from tests.support.dropzones import asyncssh_config, openssh_config
from tests.support.servers import AsyncSSHServer, OpenSSHServer, TcpProxy
from tests.support.servers.keys import new_key, public_line, with_passphrase
from tests.support.waiting import until

connector = DropzoneJsonV1Connector()


def fails_with(config: dict[str, Any]) -> ConnectorError:
    with (
        pytest.raises(ConnectorError) as raised,
        connector.open(connector.parse_config(config)),
    ):
        pass
    return raised.value


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    pool.close_idle()
    until(lambda: threading.active_count() <= before, "a thread is left", seconds=5)


def test_unknown_host_name() -> None:
    error = fails_with(sftp(host="dropzone.invalid"))
    assert error.code == "DNS"
    assert "dropzone.invalid" in error.message


def test_refused_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert fails_with(sftp(port=port)).code == "CONNECT_REFUSED"


def test_a_server_that_stays_silent(asyncssh_server: AsyncSSHServer) -> None:
    with TcpProxy(asyncssh_server.host, asyncssh_server.port) as proxy:
        proxy.stall()
        began = time.monotonic()
        error = fails_with(asyncssh_config(asyncssh_server, port=proxy.port, connect_timeout=1))
        assert error.code == "CONNECT_TIMEOUT", error.detail
        assert time.monotonic() - began < 5


@contextmanager
def swallowing(host: str, port: int = 0) -> Iterator[int]:
    """A port where nobody ever answers: its queue is full, so the kernel drops what comes."""
    with socket.socket() as listener, ExitStack() as queued:
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(3):
            waiting = queued.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_host_that_swallows_every_packet() -> None:
    began = time.monotonic()
    with swallowing("127.0.0.1") as port:
        error = fails_with(sftp(port=port, connect_timeout=1))
    assert error.code == "CONNECT_TIMEOUT", error.detail
    assert time.monotonic() - began < 5


def test_a_dead_address_leaves_time_for_the_next(openssh: OpenSSHServer) -> None:
    addresses = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, openssh.port))
        for ip in ("127.0.0.2", openssh.host)
    ]
    config = connector.parse_config(openssh_config(openssh, host="two.example", connect_timeout=4))
    began = time.monotonic()
    with (
        swallowing("127.0.0.2", openssh.port),
        mock.patch("socket.getaddrinfo", autospec=True, return_value=addresses),
        connector.open(config) as session,
    ):
        assert list(session.listing()) == []
    assert 1.9 < time.monotonic() - began < 4


def test_a_resolver_that_never_answers() -> None:
    is_over = threading.Event()
    began = time.monotonic()
    with mock.patch(
        "socket.getaddrinfo", autospec=True, side_effect=lambda *_, **__: is_over.wait()
    ):
        error = fails_with(sftp(host="slow.example", connect_timeout=1))
    is_over.set()
    assert error.code == "DNS"
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("after", [30, 700, 1500, 2500])
def test_a_connection_that_breaks_while_it_is_made(
    asyncssh_server: AsyncSSHServer, after: int
) -> None:
    with TcpProxy(asyncssh_server.host, asyncssh_server.port) as proxy:
        proxy.cut("to_client", after=after)
        config = asyncssh_config(asyncssh_server, port=proxy.port, connect_timeout=2)
        assert fails_with(config).code in {"CONNECTION_LOST", "CONNECT_TIMEOUT"}


@pytest.mark.parametrize("direction", ["to_client", "to_server"])
def test_a_stall_in_any_phase_ends_in_time(openssh: OpenSSHServer, direction: Any) -> None:
    with TcpProxy(openssh.host, openssh.port) as proxy:
        config = connector.parse_config(openssh_config(openssh, port=proxy.port))
        with connector.open(config) as session:
            assert list(session.listing()) == []
        pool.close_idle()
        config = replace(config, connect_timeout=0.3, operation_timeout=0.3)
        length = proxy.bytes_to_client if direction == "to_client" else proxy.bytes_to_server
        for tenth in range(10):
            proxy.stall(direction, after=length * tenth // 10)
            began = time.monotonic()
            with pytest.raises(ConnectorError) as raised, connector.open(config) as session:
                list(session.listing())
            assert raised.value.code in {"CONNECT_TIMEOUT", "CONNECTION_LOST"}, f"{tenth} tenths"
            assert time.monotonic() - began < 5, f"{tenth} tenths"
            proxy.resume()


@override_settings(SFTP_DENIED_NETWORKS=["127.0.0.0/8", "::1/128", "169.254.0.0/16"])
@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.1", "2130706433", "::ffff:127.0.0.1", "169.254.169.254"]
)
def test_denied_addresses_are_not_dialled(host: str) -> None:
    assert fails_with(sftp(host=host, port=1)).code == "ADDRESS_DENIED"


def test_a_server_that_is_no_ssh_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_answer_http, args=[listener], daemon=True).start()
        error = fails_with(sftp(port=listener.getsockname()[1], connect_timeout=2))
    assert error.code in {"SERVER_PROTOCOL_ERROR", "CONNECTION_LOST"}


def test_an_unpinned_host_key_is_shown_and_nothing_is_sent(
    asyncssh_server: AsyncSSHServer,
) -> None:
    asyncssh_server.auth_attempts.clear()
    error = fails_with(asyncssh_config(asyncssh_server, host_keys=[]))
    assert error.code == "HOST_KEY_UNKNOWN"
    assert ssh.fingerprint(asyncssh_server.host_key) in error.message
    assert asyncssh_server.auth_attempts == []


def test_a_changed_host_key_gets_no_password() -> None:
    with AsyncSSHServer() as server:
        config = asyncssh_config(server)
        pinned = server.host_key
        server.restart(host_keys=[new_key()])
        error = fails_with(config)
        assert error.code == "HOST_KEY_CHANGED"
        assert ssh.fingerprint(pinned) in error.message
        assert ssh.fingerprint(server.host_key) in error.message
        assert server.auth_attempts == []


def test_the_pinned_one_of_several_host_keys_is_asked_for() -> None:
    keys = [new_key("ed25519"), new_key("ecdsa")]
    with AsyncSSHServer(host_keys=keys) as server:
        for line in (server.host_key, public_line(keys[1])):
            with connector.open(
                connector.parse_config(asyncssh_config(server, host_keys=[line]))
            ) as session:
                assert list(session.listing()) == []


def test_wrong_password(asyncssh_server: AsyncSSHServer) -> None:
    error = fails_with(asyncssh_config(asyncssh_server, password="canary-4711"))
    assert error.code == "AUTH_FAILED"
    assert "canary-4711" not in f"{error!r} {error} {error.detail} {error.as_json()}"


@pytest.mark.parametrize(("password", "code"), [("", None), ("wrong", "AUTH_FAILED")])
def test_an_answer_to_the_login_that_comes_at_once(
    asyncssh_server: AsyncSSHServer, monkeypatch: pytest.MonkeyPatch, password: str, code: str
) -> None:
    """Before the thread that asked goes on, as happens where processors are busy."""
    send = paramiko.Transport._send_message

    def send_and_wait(transport: paramiko.Transport, message: paramiko.Message) -> None:
        send(transport, message)
        if message.asbytes()[:1] == cMSG_USERAUTH_REQUEST:
            until(transport.auth_handler.auth_event.is_set)

    monkeypatch.setattr(paramiko.Transport, "_send_message", send_and_wait)
    changes = {"password": password} if password else {}
    config = asyncssh_config(asyncssh_server, connect_timeout=2, **changes)
    if code:
        assert fails_with(config).code == code
        return
    with connector.open(connector.parse_config(config)) as session:
        assert list(session.listing()) == []


def test_wrong_key(openssh: OpenSSHServer) -> None:
    assert fails_with(openssh_config(openssh, ssh_key=new_key())).code == "AUTH_FAILED"


def test_key_with_passphrase(openssh: OpenSSHServer) -> None:
    locked = with_passphrase(openssh.user_key, "open sesame")
    config = openssh_config(openssh, ssh_key=locked, key_passphrase="open sesame")
    with connector.open(connector.parse_config(config)):
        pass


def test_key_first_then_password(asyncssh_server: AsyncSSHServer) -> None:
    asyncssh_server.auth_attempts.clear()
    config = asyncssh_config(asyncssh_server, ssh_key=new_key())
    with connector.open(connector.parse_config(config)):
        pass
    methods = [(a.method, a.accepted) for a in asyncssh_server.auth_attempts]
    assert methods[0] == ("publickey", False)
    assert methods[-1] == ("password", True)


def test_a_server_that_takes_no_password(openssh: OpenSSHServer) -> None:
    error = fails_with(openssh_config(openssh, ssh_key=None, password="x"))
    assert error.code == "AUTH_METHOD"
    assert "publickey" in error.message


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"sftp_subsystem": "/bin/echo"}, "SERVER_PROTOCOL_ERROR"),
        ({"sftp_subsystem": None}, "NO_SFTP_SUBSYSTEM"),
        ({"config": ["MaxSessions 0"]}, "TOO_MANY_SESSIONS"),
    ],
)
def test_servers_that_are_set_up_otherwise(
    openssh: OpenSSHServer, options: dict[str, Any], code: str
) -> None:
    with OpenSSHServer(**options) as server:
        assert fails_with(openssh_config(server)).code == code


@pytest.mark.parametrize(
    ("option", "kind", "algorithm"),
    [
        ("KexAlgorithms", "key exchange", "diffie-hellman-group14-sha1"),
        ("HostKeyAlgorithms", "host key", "ssh-rsa"),
        ("Ciphers", "cipher", "chacha20-poly1305@openssh.com"),
        ("MACs", "MAC", "umac-64@openssh.com"),
    ],
)
def test_without_a_common_algorithm_the_error_says_what_the_server_offers(
    openssh: OpenSSHServer, option: str, kind: str, algorithm: str
) -> None:
    with OpenSSHServer(config=[f"{option} {algorithm}"], host_keys=[new_key("rsa")]) as server:
        error = fails_with(openssh_config(server))
    assert error.code == "ALGO_MISMATCH"
    assert error.message == f"The server offers only: {kind} {algorithm}."


# The connection test: the same errors, as steps.


def step(report: ConnectionReport) -> tuple[str, str | None]:
    """The last step and its error."""
    last = report.steps[-1]
    return last.name, last.error and last.error.code


def test_a_passing_test_says_what_it_did(openssh: OpenSSHServer) -> None:
    config = openssh_config(openssh, ack_path=str(openssh.root / "acks"))
    told: list[ReportStep] = []
    report = connector.test(connector.parse_config(config), on_step=told.append)
    assert report.success
    assert tuple(told) == report.steps
    assert [s.name for s in report.steps] == [
        "resolve",
        "connect",
        "host key",
        "authenticate",
        "sftp",
        "export folder",
        "write and sync",
        "clock",
        "rename",
        "rename without overwrite",
        "delete",
        "ack folder",
        "processed/",
        "error/",
        "free space",
    ]
    assert report.capabilities["rename_replaces"]
    assert report.host_key == " ".join(openssh.host_key.split()[:2])
    assert not list(openssh.root.rglob(".orderflow-test*"))


def test_a_test_tells_a_plain_rename_and_a_clock_that_differs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hour_ago = time.time() - 3600
    monkeypatch.setattr("connectors.dropzone.probe.time.time", lambda: hour_ago)
    with OpenSSHServer(sftp_server_args=["-P", "posix-rename"]) as server:
        report = connector.test(connector.parse_config(openssh_config(server)))
    notes = {step.name: step.note for step in report.steps}
    assert notes["rename without overwrite"] == "refused"
    assert not report.capabilities["rename_replaces"]
    assert notes["clock"].endswith("s ahead")


def test_a_test_that_is_cut_off_leaves_no_file_behind() -> None:
    with AsyncSSHServer() as server:
        server.faults.drop_at_rename = "before"
        report = connector.test(connector.parse_config(asyncssh_config(server)))
        assert step(report) == ("rename", "CONNECTION_LOST")
        assert list((server.root / "exports").iterdir()) == []


def test_a_test_sees_that_acks_cannot_be_moved(dropzone_root: Path) -> None:
    exports, acks = dropzone_root / "exports", dropzone_root / "acks"
    exports.mkdir()
    acks.mkdir()
    (acks / "processed").write_text("not a folder")
    config = {"mode": "filesystem", "export_path": str(exports), "ack_path": str(acks)}
    report = connector.test(connector.parse_config(config))
    assert report.error
    assert report.steps[-1].name == "processed/"


def test_a_failing_test_shows_the_host_key(asyncssh_server: AsyncSSHServer) -> None:
    config = asyncssh_config(asyncssh_server, host_keys=[])
    report = connector.test(connector.parse_config(config))
    assert step(report) == ("host key", "HOST_KEY_UNKNOWN")
    assert report.host_key == " ".join(asyncssh_server.host_key.split()[:2])


def test_missing_folders(openssh: OpenSSHServer) -> None:
    config = openssh_config(openssh, export_path=str(openssh.root / "nowhere"))
    report = connector.test(connector.parse_config(config))
    assert step(report) == ("export folder", "DIR_MISSING")
    assert "nowhere" in report.steps[-1].note
    config = openssh_config(openssh, ack_path=str(openssh.root / "nowhere"))
    assert step(connector.test(connector.parse_config(config))) == ("ack folder", "DIR_MISSING")


@pytest.mark.parametrize(
    ("arguments", "failed"),
    [
        (["-R"], ("write and sync", "PERMISSION")),
        (["-P", "rename,posix-rename"], ("rename", "NO_RENAME")),
    ],
)
def test_servers_that_forbid_something(
    openssh: OpenSSHServer, arguments: list[str], failed: tuple[str, str]
) -> None:
    with OpenSSHServer(sftp_server_args=arguments) as server:
        report = connector.test(connector.parse_config(openssh_config(server)))
        assert not report.success
        assert next((s.name, s.error.code) for s in report.steps if s.error) == failed
        assert list((server.root / "exports").iterdir()) == []


def sftp(**changes: Any) -> dict[str, Any]:
    return {
        "mode": "sftp",
        "host": "127.0.0.1",
        "username": "u",
        "password": "p",
        "export_path": "/exports",
        **changes,
    }


def _answer_http(listener: socket.socket) -> None:
    client, _ = listener.accept()
    with client:
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200)
        # Until the other side hangs up.
        with suppress(ConnectionError):
            while client.recv(4096):
                pass


@pytest.mark.django_db
def test_the_command_prints_each_step_and_what_to_do(dropzone_root: Path) -> None:
    config = {"mode": "filesystem", "export_path": str(dropzone_root / "exports")}
    connection = a_connection(an_org(), config, paused=True)
    printed = StringIO()
    with pytest.raises(CommandError, match=r"DIR_MISSING: Create the folder .* \(ERP team\)"):
        call_command("test_connection", str(connection.id), stdout=printed)
    assert "does not exist" in printed.getvalue()
    (dropzone_root / "exports").mkdir()
    call_command("test_connection", str(connection.id), stdout=printed)
    assert "rename" in printed.getvalue()
    connection.refresh_from_db()
    assert not connection.is_paused
    with pytest.raises(CommandError, match="There is no connection"):
        call_command("test_connection", str(uuid.uuid4()))


def test_a_login_that_is_cut_off_is_not_a_refused_one(asyncssh_server: AsyncSSHServer) -> None:
    codes = set()
    for after in range(1200, 2000, 40):
        with TcpProxy(asyncssh_server.host, asyncssh_server.port) as proxy:
            proxy.cut("to_server", after=after, rst=False)
            config = asyncssh_config(asyncssh_server, port=proxy.port, connect_timeout=2)
            with suppress(ConnectorError):
                with connector.open(connector.parse_config(config)):
                    pass
                continue
            codes.add(fails_with(config).code)
    assert "CONNECTION_LOST" in codes
    assert not codes & {"AUTH_FAILED", "AUTH_METHOD"}


def test_a_login_sleeps_until_the_server_accepts_it(
    asyncssh_server: AsyncSSHServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wakeups = []

    def accept_late(transport: Any, message: paramiko.Message) -> None:
        # How often the other thread wakes up in this time is what counts.
        time.sleep(0.5)
        accept(transport, message)

    def counted(transport: Transport) -> None:
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        ensure_session(transport)
        wakeups.append(resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before)

    accept = ServiceRequestingTransport._parse_service_accept
    ensure_session = Transport.ensure_session
    monkeypatch.setattr(ServiceRequestingTransport, "_parse_service_accept", accept_late)
    monkeypatch.setattr(Transport, "ensure_session", counted)
    with connector.open(connector.parse_config(asyncssh_config(asyncssh_server))) as session:
        assert list(session.listing()) == []
    (count,) = wakeups
    assert count < 30


@pytest.mark.parametrize(("ends", "code"), [(True, "CONNECTION_LOST"), (False, "CONNECT_TIMEOUT")])
def test_a_server_that_never_accepts_a_login(
    asyncssh_server: AsyncSSHServer, monkeypatch: pytest.MonkeyPatch, ends: bool, code: str
) -> None:
    """The end of the connection is noticed at once, silence after the timeout."""

    def never_accept(transport: Any, message: paramiko.Message) -> None:
        if ends:
            raise EOFError

    monkeypatch.setattr(ServiceRequestingTransport, "_parse_service_accept", never_accept)
    config = asyncssh_config(asyncssh_server, connect_timeout=20 if ends else 1)
    began = time.monotonic()
    assert fails_with(config).code == code
    assert time.monotonic() - began < 5
