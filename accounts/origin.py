"""Where what is done comes from: the address of the client, and the id of its request."""

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from kernel.request_context import request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    address: str
    request_id: str


_NOWHERE: Final = Origin(address="", request_id="")
_current: ContextVar[Origin] = ContextVar("origin", default=_NOWHERE)


def origin() -> Origin:
    """The origin of what this thread does now; empty where no request asks for it."""
    return _current.get()


@contextmanager
def acting_from(origin: Origin) -> Iterator[None]:
    """Let what the block does come from there."""
    token = _current.set(origin)
    try:
        yield
    finally:
        _current.reset(token)


def from_client(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """A middleware: what a request has done comes from its client."""

    def middleware(request: HttpRequest) -> HttpResponse:
        here = Origin(address=address_of(request), request_id=request_id())
        with acting_from(here):
            return get_response(request)

    return middleware


def address_of(request: HttpRequest) -> str:
    """The address that a request came from, by the word of the TRUSTED_PROXIES alone."""
    peer: str = request.META.get("REMOTE_ADDR", "")
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    proxies = settings.TRUSTED_PROXIES
    # Each proxy appends whom it heard; what stands further left the client may have made up.
    text = forwarded[-proxies].strip() if 0 < proxies <= len(forwarded) else peer
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)
