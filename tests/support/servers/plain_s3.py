"""An S3 server that knows no aws-chunked frames: it stores each body as it comes."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.support.servers.process import HOST, free_port
from tests.support.servers.web import TlsServer


@dataclass
class PlainS3:
    """One bucket or several. `keep` says what it stores of a body, None for nothing at all.

    It checks no signature. `puts` has the headers of each upload.
    """

    certificate: Path | None = None
    keep: Callable[[bytes], bytes | None] = lambda body: body
    port: int = field(default_factory=free_port)
    objects: dict[str, bytes] = field(default_factory=dict)
    puts: list[Mapping[str, str]] = field(default_factory=list)
    access_key: str = "key"
    secret_key: str = "secret"

    @property
    def endpoint_url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://localhost:{self.port}"

    def __enter__(self) -> Self:
        s3 = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                s3.puts.append(dict(self.headers))
                body = s3.keep(self._body())
                if self.headers["If-None-Match"] == "*" and self._key in s3.objects:
                    self._answer(412, _error("PreconditionFailed"))
                    return
                if body is not None:
                    s3.objects[self._key] = body
                self._answer(200)

            def do_GET(self) -> None:
                if self._key in s3.objects:
                    self._answer(200, s3.objects[self._key])
                else:
                    self._answer(404, _error("NoSuchKey"))

            def do_DELETE(self) -> None:
                s3.objects.pop(self._key, None)
                self._answer(204)

            @property
            def _key(self) -> str:
                """Of path-style addresses, without the bucket."""
                return urlsplit(self.path).path.split("/", 2)[2]

            def _body(self) -> bytes:
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return self.rfile.read(int(self.headers["Content-Length"]))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def _answer(self, status: int, body: bytes = b"") -> None:
                self.send_response(status)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = TlsServer((HOST, self.port), Handler, certificate=self.certificate)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
