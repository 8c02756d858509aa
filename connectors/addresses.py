"""Network addresses: a host is looked up, its addresses are checked, then dialled as they are."""

import ipaddress
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from connectors.errors import ConnectorError

Address = tuple[socket.AddressFamily, tuple[str, int]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def resolve(host: str, port: int, *, timeout: float, denied: Sequence[Network]) -> list[Address]:
    """Return the addresses of a host. Raises ConnectorError: DNS, ADDRESS_DENIED.

    One denied address is enough to refuse all of them.
    """
    answer: Future[list[Any]] = Future()

    def ask() -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as e:  # noqa: BLE001  it is raised where the answer is awaited
            answer.set_exception(e)

    # The system's resolver knows no time limit: it is left behind rather than waited for.
    threading.Thread(target=ask, daemon=True).start()
    try:
        found = answer.result(timeout)
    except (OSError, UnicodeError) as e:
        raise ConnectorError(
            "DNS", public=f"The host name {host} could not be resolved.", detail=repr(e)
        ) from e
    addresses: list[Address] = [
        (family, (str(address[0]), port)) for family, _, _, _, address in found
    ]
    for _, (ip, _) in addresses:
        address = ipaddress.ip_address(ip.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if any(address in network for network in denied if network.version == address.version):
            raise ConnectorError(
                "ADDRESS_DENIED", public=f"{host} leads to {ip}, which connections must not use."
            )
    return addresses


def dial(addresses: Sequence[Address], timeout: float) -> socket.socket:
    """Connect to the first address that answers. Raises ConnectorError (CONNECT_...)."""
    # The checked address itself is dialled: a second look-up could answer otherwise.
    failure: OSError | None = None
    ends = time.monotonic() + timeout
    for left, (family, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            # A silent address must not use up the time of those that come after it.
            sock.settimeout(max((ends - time.monotonic()) / left, 0.001))
            sock.connect(address)
            # Without it every small request waits 40 ms for the acknowledgement of the last.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError as e:
            sock.close()
            failure = e
    code = "CONNECT_TIMEOUT"
    if isinstance(failure, ConnectionRefusedError):
        code = "CONNECT_REFUSED"
    elif isinstance(failure, ConnectionError):
        code = "CONNECTION_LOST"
    raise ConnectorError(code, detail=repr(failure)) from failure
