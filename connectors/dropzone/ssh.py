"""Reaching an SFTP server: resolve, dial, verify the host key, authenticate, open SFTP."""

import base64
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import paramiko
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import cMSG_SERVICE_REQUEST
from paramiko.message import Message
from paramiko.ssh_exception import (
    AuthenticationException,
    BadAuthenticationType,
    ChannelException,
    IncompatiblePeer,
    SSHException,
)

from connectors.addresses import Network, dial, resolve
from connectors.dropzone.config import SftpConfig
from connectors.dropzone.private_keys import load_private_key
from connectors.errors import ConnectorError


class _AuthHandler(AuthOnlyHandler):
    """Hears an answer that comes at once: the parent listens only after it has asked."""

    def __init__(self, transport: paramiko.Transport) -> None:
        self._answered = threading.Event()
        super().__init__(transport)

    @property
    def auth_event(self) -> threading.Event:
        return self._answered

    @auth_event.setter
    def auth_event(self, event: threading.Event | None) -> None:
        """The parent's new event would know nothing of an answer that is already there."""

    def send_auth_request(self, *args: Any, **kwargs: Any) -> Any:
        self._answered.clear()
        return super().send_auth_request(*args, **kwargs)


class _Transport(paramiko.ServiceRequestingTransport):  # type: ignore[name-defined, misc]
    """Asks for authentication once, as strict servers demand; leaves nothing behind at its end."""

    _service_userauth_accepted: bool
    is_dismissed = False
    _offered: Mapping[str, list[str]] = MappingProxyType({})

    def _really_parse_kex_init(self, message: Message) -> Any:
        self._offered = super()._really_parse_kex_init(message)
        return self._offered

    def unusable_offers(self) -> str:
        """What the server offered, of each kind of algorithm of which nothing can be used."""
        options = self.get_security_options()
        kinds = (
            ("key exchange", "kex_algo_list", options.kex),
            ("host key", "server_key_algo_list", options.key_types),
            ("cipher", "server_encrypt_algo_list", options.ciphers),
            ("MAC", "server_mac_algo_list", options.digests),
        )
        return "; ".join(
            f"{kind} {', '.join(name[:64] for name in self._offered[key][:20])}"
            for kind, key, ours in kinds
            if key in self._offered and not set(ours).intersection(self._offered[key])
        )

    def _parse_disconnect(self, message: Message) -> None:
        # A server may refuse by ending the connection in words, which is not a broken line.
        self.is_dismissed = True
        super()._parse_disconnect(message)

    def close(self) -> None:
        # The parent does nothing once the peer has gone: socket and handshake timer would stay.
        super().close()
        self.packetizer.complete_handshake()
        self.sock.close()

    def ensure_session(self) -> None:
        # The parent polls ten times a second, and for ever if the connection is gone.
        if not self._service_userauth_accepted:
            request = Message()
            request.add_byte(cMSG_SERVICE_REQUEST)
            request.add_string("ssh-userauth")
            self._send_message(request)
            while not self._service_userauth_accepted:
                if not self.is_active():
                    raise SSHException("cut off before authentication")
                time.sleep(0.002)
        self.auth_handler = _AuthHandler(self)


@dataclass(slots=True)
class Connection:
    """A channel on which the server's sftp subsystem listens."""

    transport: paramiko.Transport
    channel: paramiko.Channel
    host_key: str
    operation_timeout: float

    @property
    def is_open(self) -> bool:
        return self.transport.is_active() and not self.channel.closed

    def close(self) -> None:
        self.transport.close()

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
        transport = _Transport(sock)
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


def _negotiate(transport: _Transport, config: SftpConfig) -> None:
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
        raise _broken(e, during="negotiation", is_late=is_late) from e
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


def _authenticate(transport: _Transport, config: SftpConfig) -> None:
    methods: list[Callable[[], list[str]]] = []
    if config.ssh_key:
        key = load_private_key(config)
        methods.append(lambda: transport.auth_publickey(config.username, key))
    if config.password:
        password = config.password.reveal()
        methods.append(lambda: transport.auth_password(config.username, password))
    refusal: AuthenticationException | None = None
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
                if transport.is_authenticated():
                    return
    except AuthenticationException as e:
        if _is_late(e):
            raise ConnectorError("CONNECT_TIMEOUT", detail=repr(e)) from e
        if not transport.is_dismissed:
            # Cut off while it waited for an answer: that says nothing of the credentials.
            raise _broken(e, during="authentication") from e
        refusal = e
    except (SSHException, EOFError, OSError) as e:
        raise _broken(e, during="authentication") from e
    if isinstance(refusal, BadAuthenticationType):
        offered = ", ".join(refusal.allowed_types) or "nothing"
        raise ConnectorError(
            "AUTH_METHOD",
            public=f"The server does not take this way of logging in; it takes {offered}.",
        ) from refusal
    raise ConnectorError("AUTH_FAILED", detail=repr(refusal)) from refusal


def _open_subsystem(transport: paramiko.Transport, config: SftpConfig) -> paramiko.Channel:
    try:
        with _watchdog(transport, config.connect_timeout * 2):
            channel = transport.open_session(timeout=config.connect_timeout)
            channel.settimeout(config.operation_timeout)
            try:
                channel.invoke_subsystem("sftp")
            except SSHException as e:
                if not transport.is_active():
                    raise
                raise ConnectorError("NO_SFTP_SUBSYSTEM", detail=repr(e)) from e
    except ChannelException as e:
        raise ConnectorError("TOO_MANY_SESSIONS", detail=repr(e)) from e
    except (SSHException, EOFError, OSError) as e:
        raise _broken(e, during="opening the channel") from e
    return channel


def _broken(error: Exception, *, during: str, is_late: bool = False) -> ConnectorError:
    text = str(error).lower()
    if is_late or _is_late(error):
        code = "CONNECT_TIMEOUT"
    elif "indecipherable" in text or "invalid ssh banner" in text:
        code = "SERVER_PROTOCOL_ERROR"
    else:
        code = "CONNECTION_LOST"
    return ConnectorError(code, detail=f"{during}: {error!r}")


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
