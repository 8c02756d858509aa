"""The web server as the image starts it, and requests to it as clients really send them."""

import http.client
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from accounts.models import Org
from accounts.tokens import create_token
from tests.support.api import person
from tests.support.processes import web
from tests.support.servers.process import HOST, free_port, kill_tree

Answer = tuple[int, str, http.client.HTTPMessage]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebServer:
    """A web server with one worker process."""

    port: int
    worker: psutil.Process

    def ask(self, method: str, path: str, body: Any, **headers: str) -> Answer:
        """Send a request; a body that is a list goes in chunks."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(http.client.HTTPConnection(HOST, self.port, timeout=30)) as connection:
            connection.request(method, path, body, sent, encode_chunked=True)
            response = connection.getresponse()
            return response.status, response.read().decode(), response.headers

    def raw(self, *parts: bytes) -> bytes:
        """What the server answers to some bytes; after each part but the last it is heard."""
        with closing(socket.create_connection((HOST, self.port), timeout=30)) as connection:
            heard = b""
            for part in parts:
                connection.sendall(part)
                if part is not parts[-1]:
                    heard += connection.recv(4096)
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(4096):
                heard += data
        return heard


@pytest.fixture
def web_server(child_env: dict[str, str]) -> Iterator[WebServer]:
    port = free_port()
    process = web(child_env, port, "--workers=1")
    [worker] = psutil.Process(process.pid).children()
    yield WebServer(port=port, worker=worker)
    kill_tree(process)


def a_token(org: Org) -> str:
    """The token of a service of an org."""
    _, text = create_token(person("olivia", org, "Integration"), org=org, name="test")
    return text
