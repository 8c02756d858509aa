"""The content of orders that a page showed: its hashes, and what has changed since.

A page that approves sends back a hash of the content of each order. Only the hash decides. The page
also carries the content, signed and as far as it fits, so that the next page can show old and new
values.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.core import signing

from orders.content import Content, sha256_of

# Of the content that one page carries: far below DATA_UPLOAD_MAX_MEMORY_SIZE, and enough for most
# orders of thousands of lines.
MAX_CARRIED_CHARS: Final = 500_000

# Change it together with the form of Content: pages of the release before may still be open.
_SALT: Final = "backoffice.orders.shown.1"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_LINE_FIELDS: Final = (
    "internal SKU",
    "quantity",
    "unit of measure",
    "unit price",
    "currency",
    "customer's SKU",
    "description",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A value that has changed. `where` is the order or one of its lines."""

    where: str
    what: str
    before: str
    after: str


def join_hashes(hashes: Mapping[UUID, str]) -> str:
    """Orders and the hashes of their content as the value of one form field.

    An order without a hash is its id alone.
    """
    return " ".join(f"{key}.{sha256}" if sha256 else str(key) for key, sha256 in hashes.items())


def split_hashes(text: str) -> dict[UUID, str]:
    """The reverse of join_hashes. An invalid hash becomes empty. Raises ValueError."""
    pairs = (pair.partition(".") for pair in text.split())
    return {UUID(key): sha256 if _SHA256.fullmatch(sha256) else "" for key, _, sha256 in pairs}


def carry(contents: Mapping[UUID, Content]) -> list[str]:
    """The content of orders as values of form fields, as much of it as one page may carry.

    A large order is carried without its lines, or not at all.
    """
    left = MAX_CARRIED_CHARS
    carried = []
    for key, content in contents.items():
        for part in (content, _without_lines(content)):
            value = signing.dumps([str(key), part], salt=_SALT, compress=True)
            if len(value) <= left:
                carried.append(value)
                left -= len(value)
                break
    return carried


def read_carried(values: Iterable[str]) -> dict[UUID, Content]:
    """The reverse of carry. Values with a wrong signature are left out."""
    contents = {}
    for value in values:
        try:
            key, content = signing.loads(value, salt=_SALT)
        except signing.BadSignature:
            continue
        contents[UUID(key)] = content
    return contents


def differences(before: Content, after: Content) -> list[Difference]:
    """What has changed between two contents of an order. `before` may be without its lines."""
    old, new = before[-1], after[-1]
    header = _compared("Order", header_of(before), header_of(after))
    return [*header, *(_lines_known(old, new) if isinstance(old, list) else _unknown(old, new))]


def excerpt(content: Content, *, lines: int) -> dict[str, Any]:
    """The content of an order as a page shows it, with up to `lines` of its lines."""
    every = content[-1]
    return {
        "header": {name: value for name, value in header_of(content).items() if value},
        "lines": [(line[0], line_of(line)) for line in every[:lines]],
        "count": len(every),
        "more": max(0, len(every) - lines),
    }


def header_of(content: Content) -> dict[str, str]:
    """The fields of an order that are not its lines, by their names for people."""
    customer, document, number, order_date, currency, requested, notes, _ = content
    customer_id, customer_number, customer_name = customer or ("", "", "")
    document_id, file_name, sha256 = document or ("", "", "")
    return {
        "customer": customer_name,
        "ERP customer number": customer_number,
        "customer id": customer_id,
        "order number": number,
        "order date": order_date or "",
        "requested delivery date": requested or "",
        "currency": currency,
        "source document": file_name,
        "SHA-256 of the source document": sha256,
        "source document id": document_id,
        "notes": notes,
    }


def line_of(line: Sequence[Any]) -> dict[str, str]:
    """The fields of a line, by their names for people."""
    sku, qty, uom, price, *rest = line[1:]
    values = [sku, _plain(qty), uom, _plain(price), *rest]
    return dict(zip(_LINE_FIELDS, values, strict=True))


def _lines_known(old: list[Any], new: list[Any]) -> Iterator[Difference]:
    before, after = ({line[0]: line_of(line) for line in lines} for lines in (old, new))
    for number in sorted(before | after):
        where = f"Line {number}"
        if number not in after:
            yield _whole(where, before=before[number])
        elif number not in before:
            yield _whole(where, after=after[number])
        else:
            yield from _compared(where, before[number], after[number])


def _whole(
    where: str, *, before: Mapping[str, str] | None = None, after: Mapping[str, str] | None = None
) -> Difference:
    return Difference(
        where=where,
        what="removed" if before else "added",
        before=_in_one_text(before or {}),
        after=_in_one_text(after or {}),
    )


def _in_one_text(line: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in line.items() if value)


def _compared(
    where: str, before: Mapping[str, str], after: Mapping[str, str]
) -> Iterator[Difference]:
    for what, value in before.items():
        if value != after[what]:
            yield Difference(where=where, what=what, before=value, after=after[what])


def _without_lines(content: Content) -> Content:
    return [*content[:-1], _summary(content[-1])]


def _summary(lines: list[Any]) -> dict[str, Any]:
    return {"count": len(lines), "sha256": sha256_of(lines)}


def _unknown(old: dict[str, Any], new: list[Any]) -> Iterator[Difference]:
    if old != _summary(new):
        yield Difference(
            where="Lines",
            what="content",
            before=f"{old['count']:,} lines",
            after=f"{len(new):,} lines, some changed",
        )


def _plain(number: str | None) -> str:
    """10.500000 as 10.5."""
    return "" if number is None else f"{Decimal(number).normalize():f}"
