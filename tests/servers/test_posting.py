"""One request to a receiver: allowed addresses, limits of time and size, the reported result."""

import socket
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from notifications import posting
from notifications.posting import PostResponse, denial_reason, post
from tests.support.servers import WebServer
from tests.support.servers.process import HOST, free_port
from tests.support.servers.web import new_certificate, stay_silent


def send(url: str) -> PostResponse:
    return post(url, b"{}", {"X-Test": "1"})


def test_what_is_sent_and_what_is_kept_of_the_answer() -> None:
    with WebServer(status=201, body=b"<b>fine\x00\r\n\xff" + b"x" * 5000) as web:
        answer = send(web.url)
    (received,) = web.received
    assert (received.path, received.body) == ("/hook?of=acme", b"{}")
    assert received.headers["Host"] == f"localhost:{web.port}"
    assert received.headers["X-Test"] == "1"
    assert (answer.status, answer.error) == (201, "")
    assert answer.snippet.startswith("<b>fine   \ufffdxxx")
    assert len(answer.snippet) <= posting.SNIPPET_BYTES


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, "The server answered with status 404."),
        (500, "The server answered with status 500."),
        (302, "The server answered with a redirect, 302. Redirects are not followed."),
    ],
)
def test_only_2xx_is_a_success(status: int, error: str) -> None:
    with (
        WebServer() as inside,
        WebServer(status=status, headers={"Location": inside.url}) as web,
    ):
        answer = send(web.url)
    assert (answer.status, answer.error) == (status, error)
    assert not inside.received


# Where it may go.


@pytest.fixture
def _guarded(settings: Any) -> None:
    """As in production."""
    settings.WEBHOOK_DENIED_NETWORKS = ["127.0.0.0/8", "::1/128", *settings.WEBHOOK_DENIED_NETWORKS]


@pytest.mark.usefixtures("_guarded")
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::7f00:1]",
        "[fd00:ec2::254]",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "[fd12::1]",
    ],
)
def test_denied_addresses_are_not_dialled(host: str) -> None:
    with WebServer() as web:
        answer = send(f"http://{host}:{web.port}/")
    assert answer.status is None
    assert "which connections must not use" in answer.error
    assert not web.received


@pytest.mark.usefixtures("_guarded")
def test_one_denied_address_of_a_name_refuses_it() -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("192.0.2.1", "127.0.0.1")
    ]
    with mock.patch("socket.getaddrinfo", autospec=True, return_value=found):
        error = send("http://receiver.example/").error
    assert "leads to 127.0.0.1, which connections must not use" in error


def test_the_address_that_was_checked_is_dialled() -> None:
    """A name that leads elsewhere when it is looked up again gains nothing."""
    with WebServer() as web, WebServer() as inside:
        answers = iter([(HOST, web.port), (HOST, inside.port)])
        look_up = lambda *args, **kwargs: [  # noqa: E731
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", next(answers))
        ]
        with mock.patch("socket.getaddrinfo", autospec=True, side_effect=look_up) as looked_up:
            answer = send(f"http://rebinding.example:{web.port}/")
    assert answer.status == 200
    assert looked_up.call_count == 1
    assert web.received[0].headers["Host"] == f"rebinding.example:{web.port}"
    assert not inside.received


def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with WebServer() as web, WebServer() as proxy:
        monkeypatch.setenv("http_proxy", f"http://localhost:{proxy.port}")
        assert send(web.url).status == 200
    assert not proxy.received


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://receiver.example/", "The URL must begin with https://."),
        ("https://ann:secret@receiver.example/", "must hold no user name"),
        ("ftp://receiver.example/", "not a URL of a web server"),
        ("file:///etc/passwd", "not a URL of a web server"),
        ("https://receiver.example/ hook", "not a URL of a web server"),
        ("https:///path", "not a URL of a web server"),
        ("https://receiver.example:99999/", "not a URL"),
        ("https://[::1/", "not a URL"),
    ],
)
def test_urls_to_which_nothing_is_sent(url: str, reason: str, settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP = False
    assert reason in denial_reason(url)
    assert post(url, b"", {}).error == denial_reason(url)
    assert denial_reason("https://receiver.example:8443/hook?x=1") == ""


# TLS.


def test_a_certificate_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = new_certificate(tmp_path, "localhost")
    with WebServer(certificate=certificate) as web:
        assert "certificate of the server is not valid: self-signed" in send(web.url).error
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert send(web.url).status == 200
        other = web.url.replace("localhost", "127.0.0.1")
        assert "certificate of the server is not valid: IP address mismatch" in send(other).error
    assert len(web.received) == 1


# What it may cost.


def test_a_server_that_does_not_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "EXCHANGE_SECONDS", 0.3)
    with WebServer(before=stay_silent) as web:
        began = time.monotonic()
        assert send(web.url).error == "The server did not answer within 0 seconds."
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("is_tls", [False, True])
def test_a_server_that_drips_does_not_hold_on(
    is_tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "EXCHANGE_SECONDS", 0.5)
    certificate = new_certificate(tmp_path, "localhost") if is_tls else None
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def drip(handler: Any) -> None:
        while not handler.server.is_closed.wait(0.1):
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    with WebServer(before=drip, certificate=certificate) as web:
        began = time.monotonic()
        assert "did not answer within" in send(web.url).error
        assert time.monotonic() - began < 5


def test_what_is_no_web_server() -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        with mock.patch.object(posting, "EXCHANGE_SECONDS", 0.2):
            assert "did not answer within" in send(f"https://localhost:{port}/").error
    assert "refuses connections" in send(f"http://localhost:{free_port()}/").error
    assert "could not be resolved" in send("http://nowhere.invalid/").error
