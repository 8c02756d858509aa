"""One POST to a URL that a user entered: only to checked addresses, bounded in time and size."""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.utils.encoding import iri_to_uri

from connectors import addresses
from connectors.errors import ConnectorError

CONNECT_SECONDS = 5.0
EXCHANGE_SECONDS = 15.0
SNIPPET_BYTES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class PostResponse:
    """What came of a request: `error` is a sentence, empty after a status of 2xx.

    `snippet` is the beginning of what was answered, as text without control characters.
    """

    status: int | None = None
    milliseconds: int
    error: str = ""
    snippet: str = ""


def denial_reason(url: str) -> str:
    """Why nothing is ever sent to a URL, as a sentence; empty if it may be."""
    try:
        parts = urlsplit(url)
        is_complete = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return "This is not a URL."
    is_complete = is_complete and url.isprintable() and " " not in url
    if parts.scheme not in ("https", "http") or not is_complete:
        return "This is not a URL of a web server."
    if parts.scheme == "http" and not settings.WEBHOOK_ALLOW_HTTP:
        return "The URL must begin with https://."
    if parts.username is not None or parts.password is not None:
        return "The URL must hold no user name and no password: the signature says who sends."
    return ""


def post(url: str, body: bytes, headers: Mapping[str, str]) -> PostResponse:
    """POST once and read a little of the answer. No redirect is followed, nothing is raised."""
    began = time.monotonic()
    status, error, snippet = None, denial_reason(url), ""
    if not error:
        try:
            status, snippet = _exchange(urlsplit(url), body, headers)
        except ConnectorError as e:
            error = e.message
        except ssl.SSLCertVerificationError as e:
            error = f"The certificate of the server is not valid: {e.verify_message}"
        except (OSError, ValueError, http.client.HTTPException) as e:
            error = f"The server did not answer as a web server does: {type(e).__name__}"
            if time.monotonic() - began >= EXCHANGE_SECONDS:
                error = f"The server did not answer within {EXCHANGE_SECONDS:.0f} seconds."
    if status is not None and 300 <= status < 400:
        error = f"The server answered with a redirect, {status}. Redirects are not followed."
    elif status is not None and not 200 <= status < 300:
        error = f"The server answered with status {status}."
    milliseconds = round((time.monotonic() - began) * 1000)
    return PostResponse(status=status, milliseconds=milliseconds, error=error, snippet=snippet)


def _exchange(parts: SplitResult, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
    assert parts.hostname
    is_tls = parts.scheme == "https"
    kind = http.client.HTTPSConnection if is_tls else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port or kind.default_port)
    denied = [ipaddress.ip_network(text) for text in settings.WEBHOOK_DENIED_NETWORKS]
    found = addresses.resolve(
        connection.host, connection.port, timeout=CONNECT_SECONDS, denied=denied
    )
    sock = addresses.dial(found, CONNECT_SECONDS)
    sock.settimeout(EXCHANGE_SECONDS)
    if is_tls:
        sock = ssl.create_default_context().wrap_socket(
            sock, server_hostname=connection.host, do_handshake_on_connect=False
        )
    # With a socket at hand it neither looks the host up nor dials, nor asks for a proxy.
    connection.sock = sock
    with closing(connection), _deadline(sock):
        if isinstance(sock, ssl.SSLSocket):
            sock.do_handshake()
        target = iri_to_uri(f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}")
        connection.request("POST", target, body, {**headers, "Connection": "close"})
        with closing(connection.getresponse()) as response:
            return response.status, _snippet(response)


def _snippet(response: http.client.HTTPResponse) -> str:
    text = ""
    # The status has said all that counts.
    with suppress(OSError, http.client.HTTPException):
        text = response.read1(SNIPPET_BYTES).decode(errors="replace")
    return "".join(c if c.isprintable() else " " for c in text)


@contextmanager
def _deadline(sock: socket.socket) -> Iterator[None]:
    """End the exchange in time, also with a server that sends one byte now and then."""

    def end() -> None:
        with suppress(OSError):
            # Not the method of a TLS socket, which would change what another thread is using.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    timer = threading.Timer(EXCHANGE_SECONDS, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
