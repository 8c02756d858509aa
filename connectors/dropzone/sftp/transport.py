"""paramiko's transport, changed: it authenticates once and keeps the server's last message."""

import re
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import paramiko
from paramiko.auth_handler import AuthOnlyHandler
from paramiko.common import cMSG_SERVICE_REQUEST
from paramiko.message import Message
from paramiko.ssh_exception import SSHException

_READ_TO_END_SECONDS: Final = 1.0
_LONGEST_WORDS: Final = 1_000

# Reasons of DISCONNECT messages: RFC 4253, section 11.1.
_TOO_MANY_CONNECTIONS: Final = 12
# With these servers end a login: host not allowed, protocol error (OpenSSH), by application
# (ProFTPD), cancelled, no more methods, illegal user name.
_OF_LOGINS: Final = frozenset({1, 2, 11, 13, 14, 15})
_FULL: Final = re.compile(
    r"(?=.*(too many|maximum|limit))(?=.*(connection|session|client|user))"
    r"(?!.*(auth|log-?in|password|attempt|fail|tries))",
    re.IGNORECASE | re.DOTALL,
)


class Dismissal(NamedTuple):
    """A server's DISCONNECT message: its reason code, and what it says to people."""

    reason: int
    words: str

    @property
    def is_full(self) -> bool:
        """Whether the server has no room for another connection."""
        return self.reason == _TOO_MANY_CONNECTIONS or _FULL.match(self.words) is not None

    @property
    def is_of_login(self) -> bool:
        """Whether it may end the connection because of the credentials."""
        return self.reason in _OF_LOGINS and not self.is_full


class AuthHandler(AuthOnlyHandler):
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


class Transport(paramiko.ServiceRequestingTransport):  # type: ignore[name-defined, misc]
    """Asks for authentication once, as strict servers demand; leaves nothing behind at its end."""

    _service_userauth_accepted: bool
    dismissal: Dismissal | None = None
    refusal = ""  # what the server says when it opens no channel
    _offered: Mapping[str, list[str]] = MappingProxyType({})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Set once the server accepts the request to log in, and when this thread ends.
        self._accepted_or_ended = threading.Event()
        super().__init__(*args, **kwargs)

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._accepted_or_ended.set()

    def _parse_service_accept(self, message: Message) -> None:
        super()._parse_service_accept(message)
        if self._service_userauth_accepted:
            self._accepted_or_ended.set()

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

    def read_to_end(self) -> None:
        """Wait until all is read that the server sent before the connection broke.

        A write can fail before this thread has read why the server hung up.
        """
        if self.is_alive():
            self.join(_READ_TO_END_SECONDS)

    def _parse_disconnect(self, message: Message) -> None:
        # The parent only logs it.
        self.dismissal = Dismissal(message.get_int(), _decoded(message.get_string()))

    def _parse_channel_open_failure(self, message: Message) -> None:
        # The parent forgets the text, and breaks if it is not UTF-8.
        channel, reason = message.get_int(), message.get_int()
        self.refusal = _decoded(message.get_string())
        without_text = Message()
        without_text.add_int(channel)
        without_text.add_int(reason)
        without_text.add_string("")
        without_text.add_string("")
        without_text.rewind()
        super()._parse_channel_open_failure(without_text)

    def _send_message(self, data: Message) -> None:
        try:
            super()._send_message(data)
        except EOFError:
            # The server has closed the connection. This thread goes on and reads why.
            if threading.current_thread() is not self:
                raise

    def close(self) -> None:
        # The parent does nothing once the peer has gone: socket and handshake timer would stay.
        super().close()
        self.packetizer.complete_handshake()
        self.sock.close()

    def ensure_session(self) -> None:
        # The parent looks ten times a second, and for ever if the connection is gone.
        if not self._service_userauth_accepted:
            request = Message()
            request.add_byte(cMSG_SERVICE_REQUEST)
            request.add_string("ssh-userauth")
            self._send_message(request)
            if not self._accepted_or_ended.wait(self.auth_timeout):
                raise SSHException("timed out before authentication")
            if not self._service_userauth_accepted:
                raise SSHException("cut off before authentication")
        self.auth_handler = AuthHandler(self)


def _decoded(words: bytes) -> str:
    return words[:_LONGEST_WORDS].decode("utf-8", "replace")
