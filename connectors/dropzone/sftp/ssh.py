"""SSH connections: resolve, dial, verify the host key, authenticate, open SFTP."""

import base64
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import paramiko
from paramiko.ssh_exception import (
    AuthenticationException,
    BadAuthenticationType,
    ChannelException,
    IncompatiblePeer,
    SSHException,
)

from connectors.addresses import Network, dial, resolve
from connectors.dropzone.config import SftpConfig
from connectors.dropzone.sftp.private_keys import load_private_key
from connectors.dropzone.sftp.transport import Dismissal, Transport
from connectors.errors import CATALOGUE, ConnectorError

_SHOWN_WORDS: Final = 200


@dataclass(slots=True)
class Connection:
    """A channel on which the server's sftp subsystem listens."""

    transport: Transport
    channel: paramiko.Channel
    host_key: str
    operation_timeout: float
    is_in_use: bool = False  # the server has answered a request

    @property
    def is_open(self) -> bool:
        return self.transport.is_active() and not self.channel.closed

    def close(self) -> None:
        self.transport.close()

    def lost(self, error: Exception) -> ConnectorError:
        """Close the connection, which has failed; return what that means."""
        dismissal = _dismissal(self.transport, error)
        is_turned_away = dismissal and (dismissal.is_full or not self.is_in_use)
        code = "TOO_MANY_SESSIONS" if is_turned_away else "CONNECTION_LOST"
        self.close()
        return _ended(code, dismissal, detail=repr(error))

    @contextmanager
    def deadline(self, seconds: float) -> Iterator[None]:
        """Break the connection if the block takes longer: no call of paramiko can then hang."""
        with _watchdog(self.transport, seconds):
            yield


def connect(
    config: SftpConfig,
    *,
    denied: Sequence[Network],
    on_phase: Callable[[str], None] = lambda phase: None,
    on_host_key: Callable[[str], None] = lambda key: None,
) -> Connection:
    """Return an authenticated connection with an open sftp subsystem. Raises ConnectorError.

    `on_phase` hears each phase as it begins: resolve, connect, host key, authenticate, sftp.
    `on_host_key` hears the key that the server shows, before it is compared.
    """
    on_phase("resolve")
    addresses = resolve(config.host, config.port, timeout=config.connect_timeout, denied=denied)
    on_phase("connect")
    sock = dial(addresses, config.connect_timeout)
    try:
        transport = Transport(sock)
    except SSHException as e:
        sock.close()
        raise ConnectorError("SERVER_PROTOCOL_ERROR", detail=repr(e)) from e
    try:
        _negotiate(transport, config)
        on_phase("host key")
        host_key = _verify_host_key(transport, config.host_keys, on_host_key)
        on_phase("authenticate")
        _authenticate(transport, config)
        on_phase("sftp")
        channel = _open_subsystem(transport, config)
    except BaseException:
        transport.close()
        raise
    return Connection(transport, channel, host_key, config.operation_timeout)


def fingerprint(host_key: str) -> str:
    """The SHA256 fingerprint of a public key line, as ssh shows it.

    Raises ConnectorError (KEY_UNREADABLE) if the line is no such key.
    """
    try:
        return str(paramiko.PKey.from_type_string(*_split(host_key)).fingerprint)
    except (SSHException, ValueError, IndexError) as e:
        raise ConnectorError("KEY_UNREADABLE", public="is not a public key.") from e


@contextmanager
def _watchdog(transport: paramiko.Transport, seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, transport.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _negotiate(transport: Transport, config: SftpConfig) -> None:
    timeout = config.connect_timeout
    transport.banner_timeout = transport.auth_timeout = transport.channel_timeout = timeout
    transport.handshake_timeout = timeout * 2
    options = transport.get_security_options()
    # One pass over the data for secrecy and integrity instead of two.
    options.ciphers = sorted(options.ciphers, key=lambda name: "gcm" not in name)
    pinned = {_split(key)[0] for key in config.host_keys}
    # Ask for a pinned type first: a server with several keys must show the one that is known.
    options.key_types = sorted(options.key_types, key=lambda name: _key_type(name) not in pinned)
    began = time.monotonic()
    try:
        with _watchdog(transport, timeout * 2):
            transport.start_client(timeout=timeout)
    except IncompatiblePeer as e:
        offers = transport.unusable_offers()
        raise ConnectorError(
            "ALGO_MISMATCH",
            public=f"The server offers only: {offers}." if offers else None,
            detail=str(e),
        ) from e
    except (SSHException, EOFError, OSError) as e:
        # paramiko's error says nothing of a time-out while it waits for the banner.
        is_late = time.monotonic() - began >= timeout
        raise _broken(transport, e, during="negotiation", is_late=is_late) from e
    if not transport.initial_kex_done:
        raise ConnectorError("CONNECT_TIMEOUT", detail="key exchange")


def _verify_host_key(
    transport: paramiko.Transport, pinned: Sequence[str], on_host_key: Callable[[str], None]
) -> str:
    key = transport.get_remote_server_key()
    shown = f"{key.get_name()} {key.get_base64()}"
    on_host_key(shown)
    if shown in pinned:
        return shown
    if not pinned:
        raise ConnectorError(
            "HOST_KEY_UNKNOWN",
            public=f"The server's host key {key.get_name()} {key.fingerprint} is not pinned yet.",
        )
    known = ", ".join(fingerprint(line) for line in pinned)
    raise ConnectorError(
        "HOST_KEY_CHANGED",
        public=f"The server shows the host key {key.fingerprint}; pinned is {known}. "
        "No password was sent.",
    )


def _authenticate(transport: Transport, config: SftpConfig) -> None:
    methods: list[Callable[[], list[str]]] = []
    if config.ssh_key:
        key = load_private_key(config)
        methods.append(lambda: transport.auth_publickey(config.username, key))
    if config.password:
        password = config.password.reveal()
        methods.append(lambda: transport.auth_password(config.username, password))
    refusal: Exception | None = None
    try:
        with _watchdog(transport, config.connect_timeout * 2):
            for method in methods:
                try:
                    method()
                except AuthenticationException as e:
                    # A server that breaks off or stays silent is out of reach, and has not refused.
                    if not transport.is_active() or _is_late(e):
                        raise
                    refusal = e
                # Not is_authenticated(): that is false again once the server has hung up.
                if transport.authenticated:
                    return
    except (SSHException, EOFError, OSError) as e:
        broken = _broken(transport, e, during="authentication")
        dismissal = transport.dismissal
        if dismissal is None or transport.authenticated or not dismissal.is_of_login:
            # That says nothing of the credentials.
            raise broken from e
        refusal = e
    if isinstance(refusal, BadAuthenticationType):
        offered = ", ".join(refusal.allowed_types) or "nothing"
        raise ConnectorError(
            "AUTH_METHOD",
            public=f"The server does not take this way of logging in; it takes {offered}.",
        ) from refusal
    raise _ended("AUTH_FAILED", transport.dismissal, detail=repr(refusal)) from refusal


def _open_subsystem(transport: Transport, config: SftpConfig) -> paramiko.Channel:
    try:
        with _watchdog(transport, config.connect_timeout * 2):
            channel: paramiko.Channel = transport.open_session(timeout=config.connect_timeout)
            channel.settimeout(config.operation_timeout)
            try:
                channel.invoke_subsystem("sftp")
            except SSHException as e:
                if transport.dismissal or not transport.is_active():
                    raise
                raise ConnectorError("NO_SFTP_SUBSYSTEM", detail=repr(e)) from e
    except ChannelException as e:
        raise ConnectorError(
            "TOO_MANY_SESSIONS",
            public=_quoting("TOO_MANY_SESSIONS", transport.refusal),
            detail=repr(e),
        ) from e
    except (SSHException, EOFError, OSError) as e:
        raise _broken(transport, e, during="opening the channel") from e
    return channel


def _broken(
    transport: Transport, error: Exception, *, during: str, is_late: bool = False
) -> ConnectorError:
    """What it means that a connection broke before it was open."""
    text = str(error).lower()
    dismissal = _dismissal(transport, error)
    if dismissal and (dismissal.is_full or transport.authenticated):
        # A dismissal after a login that succeeded is not about the password.
        code = "TOO_MANY_SESSIONS"
    elif is_late or _is_late(error):
        code = "CONNECT_TIMEOUT"
    elif "indecipherable" in text or "invalid ssh banner" in text:
        code = "SERVER_PROTOCOL_ERROR"
    else:
        code = "CONNECTION_LOST"
    return _ended(code, dismissal, detail=f"{during}: {error!r}")


def _dismissal(transport: Transport, error: Exception) -> Dismissal | None:
    """Why the server ended a connection that broke with this error, if it said so."""
    if not _is_late(error):
        transport.read_to_end()
    return transport.dismissal


def _ended(code: str, dismissal: Dismissal | None, *, detail: str) -> ConnectorError:
    if dismissal is None:
        return ConnectorError(code, detail=detail)
    public = _quoting(code, dismissal.words)
    return ConnectorError(code, public=public, detail=f"{detail} {dismissal}")


def _quoting(code: str, words: str) -> str | None:
    """The message of an error with what the server says, clipped, in printable characters."""
    words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    if not words:
        return None
    if len(words) > _SHOWN_WORDS:
        words = f"{words[:_SHOWN_WORDS]}…"
    return f"{CATALOGUE[code].message} The server says: “{words}”."


def _is_late(error: Exception) -> bool:
    # paramiko has no class of its own for this.
    text = str(error).lower()
    return isinstance(error, TimeoutError) or "timed out" in text or "timeout" in text


def _split(host_key: str) -> tuple[str, bytes]:
    name, blob = host_key.split()[:2]
    return name, base64.b64decode(blob)


def _key_type(algorithm: str) -> str:
    # One RSA key signs under several algorithm names.
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm
