"""The request that this thread answers: its id and the address of its client."""

import ipaddress
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from django.conf import settings
from django.http import HttpRequest

# What a client may send, so that its log and ours can be put side by side.
_FOREIGN: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")
_request_id: ContextVar[str] = ContextVar("request_id", default="-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an action comes from: both texts are empty if no request asked for it."""

    address: str
    request_id: str


_NOWHERE: Final = Origin(address="", request_id="")
_origin: ContextVar[Origin] = ContextVar("origin", default=_NOWHERE)


def request_id() -> str:
    """The id of the latest request in this thread; "-" before the first.

    It outlives its request, because Django logs a failed one when all middleware is through.
    """
    return _request_id.get()


def identify(sent: str) -> str:
    """Give the request that begins the id that its client sent, or else a new one."""
    _request_id.set(sent if _FOREIGN.fullmatch(sent) else uuid4().hex)
    return _request_id.get()


def origin() -> Origin:
    """The origin of what this thread does now."""
    return _origin.get()


@contextmanager
def acting_from(origin: Origin) -> Iterator[None]:
    """Set the origin of what the block does."""
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)


def address_of(request: HttpRequest) -> str:
    """The address that a request came from, by the word of the TRUSTED_PROXIES alone."""
    peer: str = request.META.get("REMOTE_ADDR", "")
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    proxies = settings.TRUSTED_PROXIES
    # Each proxy appends the address it saw; the client may have invented entries further left.
    text = forwarded[-proxies].strip() if 0 < proxies <= len(forwarded) else peer
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)
