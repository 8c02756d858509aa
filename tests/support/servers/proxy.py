"""A TCP proxy that breaks connections in the ways networks do."""

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass
from typing import Literal, Self

from .loop import LoopThread
from .process import HOST, free_port

Direction = Literal["to_client", "to_server"]
Directions = Literal["to_client", "to_server", "both"]

_CHUNK = 65_536
_LINGER_ZERO = struct.pack("ii", 1, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rule:
    action: Literal["pass", "stall", "close", "reset"] = "pass"
    directions: Directions = "both"
    after: int = 0

    def room(self, direction: Direction, sent: int) -> int:
        """Return how many more bytes may pass."""
        if self.action == "pass" or self.directions not in ("both", direction):
            return _CHUNK
        return max(0, self.after - sent)


class TcpProxy:
    """Forwards to a server; its methods change what happens while connections are open.

    `latency` is a one-way delay in seconds that does not limit the throughput. Bytes "after"
    which something happens are counted per connection and direction. The totals are in
    `bytes_to_client`, `bytes_to_server` and `connections`.
    """

    def __init__(self, target_host: str, target_port: int, *, latency: float = 0) -> None:
        self.host = HOST
        self.port = free_port()
        self.latency = latency
        self.connections = 0
        self._target = (target_host, target_port)
        self._totals: dict[Direction, int] = {"to_client": 0, "to_server": 0}
        self._rule = _Rule()
        self._links: set[_Link] = set()
        self._listener: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._loop = LoopThread("tcp-proxy")
        self._loop.run(self._listen())
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.run(self._refuse())
        self._loop.run(self._apply(_Rule(action="close")))
        self._loop.close()

    @property
    def bytes_to_client(self) -> int:
        """Bytes passed on from the server."""
        return self._totals["to_client"]

    @property
    def bytes_to_server(self) -> int:
        """Bytes passed on from the client."""
        return self._totals["to_server"]

    def resume(self) -> None:
        """Pass everything again, beginning with what a stall has held back."""
        self._loop.run(self._apply(_Rule()))
        self._loop.run(self._listen())

    def stall(self, directions: Directions = "both", *, after: int = 0) -> None:
        """Keep connections open, and accept new ones, but hold the bytes back."""
        self._loop.run(self._apply(_Rule(action="stall", directions=directions, after=after)))

    def cut(self, directions: Directions = "both", *, after: int = 0, rst: bool = False) -> None:
        """Close every connection, old or new, as soon as `after` bytes have passed.

        With `rst` the ends see "connection reset" instead of an end of file.
        """
        action: Literal["reset", "close"] = "reset" if rst else "close"
        self._loop.run(self._apply(_Rule(action=action, directions=directions, after=after)))

    def reset(self) -> None:
        """Reset the connections that are open now; later ones pass."""
        self._loop.run(self._apply(_Rule(action="reset")))
        self._loop.run(self._apply(_Rule()))

    def refuse(self) -> None:
        """Refuse new connections until `resume()`; open ones go on."""
        self._loop.run(self._refuse())

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, self.host, self.port)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _apply(self, rule: _Rule) -> None:
        self._rule = rule
        for link in list(self._links):
            self._enforce(link)

    def _enforce(self, link: "_Link") -> None:
        rule = self._rule
        if rule.action in ("close", "reset") and not all(
            rule.room(direction, sent) for direction, sent in link.sent.items()
        ):
            link.cut(rst=rule.action == "reset")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        ways: tuple[tuple[Direction, asyncio.StreamReader, asyncio.StreamWriter], ...] = (
            ("to_server", reader, server_writer),
            ("to_client", server_reader, writer),
        )
        link = _Link(writer, server_writer)
        self._links.add(link)
        self._enforce(link)
        try:
            async with asyncio.TaskGroup() as pumps:
                for direction, source, sink in ways:
                    # Bounded, so that a stalled sender meets a full window in the end.
                    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=256)
                    pumps.create_task(self._receive(source, queue))
                    pumps.create_task(self._send(link, direction, queue, sink))
        except* ConnectionError:
            link.cut(rst=True)
        except* asyncio.CancelledError:
            # Only the proxy's own end cancels; asyncio would log it as an error.
            pass
        finally:
            link.cut(rst=False)
            self._links.discard(link)

    async def _receive(
        self, source: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        """Queue what arrives with the time at which it is due; b"" is the end of file."""
        data = b"-"
        while data:
            data = await source.read(_CHUNK)
            await queue.put((asyncio.get_running_loop().time() + self.latency, data))

    async def _send(
        self,
        link: "_Link",
        direction: Direction,
        queue: asyncio.Queue[tuple[float, bytes]],
        sink: asyncio.StreamWriter,
    ) -> None:
        while not sink.is_closing():
            due, data = await queue.get()
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            if not data:
                with contextlib.suppress(OSError):
                    sink.write_eof()
                return
            while data and not sink.is_closing():
                room = self._rule.room(direction, link.sent[direction])
                if not room:
                    await asyncio.sleep(0.005)
                    continue
                part, data = data[:room], data[room:]
                link.sent[direction] += len(part)
                self._totals[direction] += len(part)
                sink.write(part)
                await sink.drain()
                self._enforce(link)


class _Link:
    """One client's connection and the connection to the server made for it."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers
        self.sent: dict[Direction, int] = {"to_client": 0, "to_server": 0}

    def cut(self, *, rst: bool) -> None:
        for writer in self._writers:
            if rst and not writer.is_closing():
                # A close with no time to linger is what sends a RST. It works because no other
                # thread waits in a system call on this socket.
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
                writer.transport.abort()
            writer.close()
