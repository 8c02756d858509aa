"""The servers that other tests rely on do what they promise."""

import base64
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import botocore.exceptions
import paramiko
import psycopg
import pytest

from tests.support.servers import (
    AsyncSSHServer,
    OpenSSHServer,
    Postgres,
    S3Server,
    TcpProxy,
    keys,
    openssh,
    postgres,
)
from tests.support.waiting import until

needs_sshd = pytest.mark.skipif(not openssh.available(), reason="no OpenSSH server is installed")


@contextmanager
def sftp(server, *, password=None, key=None, host_key=None) -> Iterator[paramiko.SFTPClient]:
    """A paramiko session that accepts only the given host key or the server's own."""
    kind, data = (host_key or server.host_key).split()
    key = key or (None if password else server.user_key)
    with paramiko.SSHClient() as client:
        known = paramiko.PKey.from_type_string(kind, base64.b64decode(data))
        client.get_host_keys().add(f"[{server.host}]:{server.port}", kind, known)
        client.connect(
            server.host,
            server.port,
            server.username,
            password,
            paramiko.Ed25519Key.from_private_key(StringIO(key)) if key else None,
            allow_agent=False,
            look_for_keys=False,
            timeout=5,
        )
        yield client.open_sftp()


def write(client: paramiko.SFTPClient, path: str, data: bytes) -> None:
    """Write without pipelining, so that every refusal is seen."""
    with client.open(path, "wx") as file:
        for start in range(0, len(data), 1000):
            file.write(data[start : start + 1000])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# OpenSSH


@pytest.fixture
def sshd() -> Iterator[OpenSSHServer]:
    with OpenSSHServer() as server:
        yield server


@needs_sshd
def test_sshd_serves_its_folder_to_the_user_key(sshd):
    with sftp(sshd) as client:
        write(client, "exports/a.json", b"{}")
        client.posix_rename("exports/a.json", str(sshd.root / "acks" / "a.json"))
    assert (sshd.root / "acks" / "a.json").read_bytes() == b"{}"
    assert "Accepted publickey" in sshd.log


@needs_sshd
def test_sshd_restarts_with_another_host_key_on_the_same_port(sshd):
    old = sshd.host_key
    with sftp(sshd) as client:
        sshd.restart(host_keys=[keys.new_key("ecdsa"), keys.new_key()])
        with pytest.raises((OSError, EOFError)):
            client.listdir()
    assert sshd.host_key.startswith("ecdsa-sha2-nistp256 ") and sshd.host_key != old
    with sftp(sshd) as client:
        assert client.listdir("exports") == []


@needs_sshd
def test_sshd_knows_nobody_else(sshd):
    with pytest.raises(paramiko.AuthenticationException), sftp(sshd, key=keys.new_key()):
        pass
    assert "Accepted" not in sshd.log


@needs_sshd
@pytest.mark.parametrize("subsystem", ["internal-sftp", openssh.SFTP_SERVER])
def test_sshd_can_be_read_only(sshd, subsystem):
    sshd.restart(sftp_server_args=["-R"], sftp_subsystem=subsystem)
    with sftp(sshd) as client, pytest.raises(PermissionError):
        write(client, "exports/a.json", b"{}")


@needs_sshd
def test_sshd_without_posix_rename_still_renames(sshd):
    sshd.restart(sftp_server_args=["-P", "posix-rename"])
    with sftp(sshd) as client:
        write(client, "exports/a.tmp", b"{}")
        with pytest.raises(PermissionError):
            client.posix_rename("exports/a.tmp", "exports/a.json")
        client.rename("exports/a.tmp", "exports/a.json")


@needs_sshd
@pytest.mark.parametrize("subsystem", ["/bin/echo", None])
def test_sshd_can_have_a_broken_subsystem_or_none(sshd, subsystem):
    sshd.restart(sftp_subsystem=subsystem)
    with pytest.raises((paramiko.SFTPError, paramiko.SSHException)), sftp(sshd):
        pass


@needs_sshd
def test_sshd_options_win_and_bad_ones_are_reported(sshd):
    sshd.restart(config=["KexAlgorithms diffie-hellman-group14-sha1"])
    with pytest.raises(paramiko.SSHException, match="no acceptable"), sftp(sshd):
        pass
    sshd.restart(
        config=[
            "KbdInteractiveAuthentication yes",
            "AuthenticationMethods keyboard-interactive",
        ]
    )
    with pytest.raises(paramiko.BadAuthenticationType), sftp(sshd):
        pass
    sshd.restart(config=["MaxStartups 1"])
    with socket.create_connection((sshd.host, sshd.port)) as first:
        first.recv(1)
        with pytest.raises(paramiko.SSHException), sftp(sshd):
            pass
    with pytest.raises(RuntimeError, match="Bad configuration option"):
        sshd.restart(config=["Nonsense yes"])


# asyncssh


@pytest.fixture
def new_asyncssh_server() -> Iterator[AsyncSSHServer]:
    with AsyncSSHServer() as server:
        yield server


def test_asyncssh_takes_password_and_key_and_notes_what_it_sees(new_asyncssh_server):
    with sftp(new_asyncssh_server) as client:
        write(client, "/exports/a.tmp", b"{}")
        client.posix_rename("/exports/a.tmp", "/exports/a.json")
    with sftp(new_asyncssh_server, password=new_asyncssh_server.password):
        pass
    with pytest.raises(paramiko.AuthenticationException), sftp(new_asyncssh_server, password="x"):
        pass
    assert (new_asyncssh_server.root / "exports" / "a.json").read_bytes() == b"{}"
    assert [tuple(seen) for seen in new_asyncssh_server.operations] == [
        ("open", "/exports/a.tmp", ""),
        ("write", "/exports/a.tmp", ""),
        ("close", "/exports/a.tmp", ""),
        ("posix_rename", "/exports/a.tmp", "/exports/a.json"),
    ]
    attempts = [(seen.method, seen.accepted) for seen in new_asyncssh_server.auth_attempts]
    assert attempts[0] == ("publickey", True)
    assert attempts[-2:] == [("password", True), ("password", False)]


def test_asyncssh_gets_no_password_after_its_host_key_changed(new_asyncssh_server):
    known = new_asyncssh_server.host_key
    new_asyncssh_server.restart(host_keys=[keys.new_key()])
    with (
        pytest.raises(paramiko.BadHostKeyException),
        sftp(new_asyncssh_server, password=new_asyncssh_server.password, host_key=known),
    ):
        pass
    assert new_asyncssh_server.auth_attempts == []


def test_asyncssh_disk_gets_full_in_one_file_only(new_asyncssh_server):
    new_asyncssh_server.faults.disk_full_after = 1500
    new_asyncssh_server.faults.only = "big"
    with sftp(new_asyncssh_server) as client:
        with pytest.raises(OSError, match="Failure"):
            write(client, "/exports/big", b"x" * 2000)
        assert client.stat("/exports/big").st_size == 1500
        write(client, "/exports/other", b"x" * 2000)


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ({"lose_after": 3}, b"a\nb"),
        ({"change_bytes": lambda data: data.replace(b"\n", b"\r\n")}, b"a\r\nb\r\n"),
    ],
)
def test_asyncssh_confirms_writes_that_it_damages(new_asyncssh_server, fault, found):
    for name, value in fault.items():
        setattr(new_asyncssh_server.faults, name, value)
    with sftp(new_asyncssh_server) as client:
        write(client, "/exports/a", b"a\nb\n")
    assert (new_asyncssh_server.root / "exports" / "a").read_bytes() == found


def test_asyncssh_hides_extensions(new_asyncssh_server):
    new_asyncssh_server.faults.hidden_extensions = frozenset({"posix-rename@openssh.com"})
    with sftp(new_asyncssh_server) as client:
        write(client, "/exports/a", b"{}")
        with pytest.raises(OSError, match="Unsupported"):
            client.posix_rename("/exports/a", "/exports/b")


@pytest.mark.parametrize(("moment", "moved"), [("before", False), ("after", True)])
def test_asyncssh_loses_the_answer_to_one_rename(new_asyncssh_server, moment, moved):
    new_asyncssh_server.faults.drop_at_rename = moment
    with sftp(new_asyncssh_server) as client:
        write(client, "/exports/a", b"{}")
        with pytest.raises((OSError, EOFError, paramiko.SSHException)):
            client.posix_rename("/exports/a", "/exports/b")
    assert (new_asyncssh_server.root / "exports" / "b").exists() is moved
    with sftp(new_asyncssh_server) as client:
        client.rename("/exports/b" if moved else "/exports/a", "/exports/c")


def test_asyncssh_refuses_renames_and_sizes(new_asyncssh_server):
    new_asyncssh_server.faults.refuse_rename = True
    new_asyncssh_server.faults.no_sizes = True
    with sftp(new_asyncssh_server) as client:
        write(client, "/exports/a", b"{}")
        assert client.lstat("/exports/a").st_size is None
        with pytest.raises(PermissionError):
            client.rename("/exports/a", "/exports/b")


# The proxy


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back what it gets."""
    code = (
        "import socketserver, sys\n"
        "class Echo(socketserver.BaseRequestHandler):\n"
        "    def handle(self):\n"
        "        while data := self.request.recv(65536): self.request.sendall(data)\n"
        "server = socketserver.ThreadingTCPServer(('127.0.0.1', 0), Echo)\n"
        "print(server.server_address[1], flush=True)\n"
        "server.serve_forever()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        yield "127.0.0.1", int(process.stdout.readline())
        process.kill()


def exchange(connection: socket.socket, data: bytes) -> bytes:
    """Send data and return what comes back until it is complete, ended or late."""
    connection.settimeout(0.5)
    connection.sendall(data)
    received = b""
    while len(received) < len(data) and (part := connection.recv(65536)):
        received += part
    return received


def test_proxy_delays_without_slowing_down(echo):
    with TcpProxy(*echo) as proxy, socket.create_connection((proxy.host, proxy.port)) as client:
        assert exchange(client, b"hello") == b"hello"
        assert (proxy.bytes_to_server, proxy.bytes_to_client, proxy.connections) == (5, 5, 1)
        proxy.latency = 0.1
        started = time.monotonic()
        assert exchange(client, b"x" * 2_000_000) == b"x" * 2_000_000
        assert 0.2 <= time.monotonic() - started < 2.5


def test_proxy_stalls_one_way_and_delivers_later(echo):
    with TcpProxy(*echo) as proxy, socket.create_connection((proxy.host, proxy.port)) as client:
        proxy.stall("to_client", after=2)
        with pytest.raises(TimeoutError):
            exchange(client, b"hello")
        assert (proxy.bytes_to_server, proxy.bytes_to_client) == (5, 2)
        proxy.resume()
        until(lambda: proxy.bytes_to_client == 5)


def test_proxy_cuts_after_some_bytes(echo):
    with TcpProxy(*echo) as proxy:
        proxy.cut("to_client", after=3)
        for _ in range(2):
            with socket.create_connection((proxy.host, proxy.port)) as client:
                assert exchange(client, b"hello") == b"hel"


def test_proxy_resets_and_refuses(echo):
    with TcpProxy(*echo) as proxy:
        with socket.create_connection((proxy.host, proxy.port)) as client:
            assert exchange(client, b"hello") == b"hello"
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((proxy.host, proxy.port))
        proxy.resume()
        with socket.create_connection((proxy.host, proxy.port)) as client:
            assert exchange(client, b"hello") == b"hello"


# S3


def test_s3_creates_only_once_and_checks_the_secret():
    with S3Server() as server:
        server.create_bucket("exports")
        for status in (200, 412):
            try:
                answer = server.client().put_object(
                    Bucket="exports", Key="a", Body=b"{}", IfNoneMatch="*"
                )
            except botocore.exceptions.ClientError as e:
                answer = e.response
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
        with pytest.raises(botocore.exceptions.ClientError, match="SignatureDoesNotMatch"):
            server.client(secret_key="wrong").put_object(Bucket="exports", Key="b", Body=b"{}")
        server.stop()
        with pytest.raises(botocore.exceptions.BotoCoreError):
            server.client().list_buckets()
        server.start()
        found = server.client().get_object(Bucket="exports", Key="a")["Body"]
        assert found.read() == b"{}"


# PostgreSQL


def test_postgres_stops_and_comes_back_with_its_data():
    with Postgres() as server:
        with psycopg.connect(server.url) as connection:
            assert "PostgreSQL" in connection.execute("SELECT version()").fetchone()[0]
            assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
            connection.execute("CREATE TABLE kept ()")
        server.stop()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url)
        server.start()
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("SELECT FROM kept")
            assert server.kill_backends() == 1
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")


def test_postgres_is_shared_and_leaves_with_a_killed_process():
    code = (
        "import time; from tests.support.servers import postgres, process;"
        "url = postgres.start(); assert postgres.start() == url;"
        "print(url, process.scratch_folder('x').parent, flush=True); time.sleep(60)"
    )
    environment = {k: v for k, v in os.environ.items() if k != postgres.URL_VARIABLE}
    command = [sys.executable, "-c", code]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=root) as process:
        url, folder = process.stdout.readline().decode().split()
        port = int(url.rpartition(":")[2].partition("/")[0])
        assert answers(port)
        process.send_signal(signal.SIGKILL)
    until(lambda: not answers(port) and not Path(folder).exists())
