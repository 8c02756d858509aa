"""The script of a simulated ERP: rules in a TOML file, of which the first that fits decides.

Each `[[rule]]` table may say for which orders it is, and `answer` says what they get. The default
script, erp.toml beside this file, shows every answer.
"""

import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

DEFAULT_SCRIPT = Path(__file__).with_name("erp.toml")

Seconds = Annotated[float, Meta(ge=0)]


class ScriptError(ValueError):
    """A script that cannot be played; says which rule is wrong, and how."""


class Customer(Struct, frozen=True):
    erp_customer_number: str


class Header(Struct, frozen=True):
    external_order_number: str | None


class Line(Struct, frozen=True):
    internal_sku: str


class Document(Struct, frozen=True):
    """What this ERP reads of an orderflow_export_json_v1 document."""

    draft_order_id: UUID
    customer: Customer
    header: Header
    lines: list[Line]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A file that the ERP took. `position` counts all that it ever took, from 1.

    `document` is None if the file is not one.
    """

    position: int
    filename: str
    sha256: str
    document: Document | None

    def __str__(self) -> str:
        if self.document is None:
            return "not an order"
        number = self.document.header.external_order_number or self.document.draft_order_id
        return f"order {number} of customer {self.document.customer.erp_customer_number}"

    @property
    def erp_order_id(self) -> str:
        return f"SO-{self.position:06}"


@dataclass(frozen=True, slots=True)
class AckFile:
    """A file to answer with, `after` so many seconds.

    It appears whole, or grows under its final name `over` so many seconds.
    """

    name: str
    content: bytes
    after: float = 0
    over: float = 0


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For the orders that fit all of its conditions. Texts are patterns like those of a shell."""

    customer: str | None = None
    order: str | None = None
    sku: str | None = None
    every: Annotated[int, Meta(ge=1)] | None = None
    delay: Seconds = 0

    def fits(self, order: Order) -> bool:
        document = order.document
        return (
            document is not None
            and _fits(self.customer, [document.customer.erp_customer_number])
            and _fits(self.order, [document.header.external_order_number or ""])
            and _fits(self.sku, [line.internal_sku for line in document.lines])
            and (self.every is None or order.position % self.every == 0)
        )

    def files(self, order: Order) -> list[AckFile]:
        """The files of the answer, in the order in which they are written."""
        raise NotImplementedError


class Success(Rule, frozen=True):
    def files(self, order: Order) -> list[AckFile]:
        return [_ack(order, _acked(order))]


class Error(Rule, frozen=True):
    code: str
    message: str

    def files(self, order: Order) -> list[AckFile]:
        return [_error(order, self.code, self.message)]


class Silence(Rule, frozen=True):
    def files(self, order: Order) -> list[AckFile]:
        return []


class Duplicate(Rule, frozen=True):
    """The same answer under the two names that the guide allows, and later once more."""

    spread: Seconds = 3

    def files(self, order: Order) -> list[AckFile]:
        assert order.document is not None
        draft_id = str(order.document.draft_order_id)
        long_name = order.filename.replace(draft_id[:8], draft_id, 1)
        content = _acked(order)
        return [
            AckFile(f"ack_{order.filename}", content),
            AckFile(f"ack_{long_name}", content),
            AckFile(f"ack_{order.filename}", content, after=self.spread),
        ]


class Contrary(Rule, frozen=True):
    """Accepts the order and then refuses it."""

    code: str = "CANCELLED"
    message: str = "The order was cancelled."
    spread: Seconds = 3

    def files(self, order: Order) -> list[AckFile]:
        refusal = _error(order, self.code, self.message, after=self.spread)
        return [_ack(order, _acked(order)), refusal]


class Malformed(Rule, frozen=True):
    def files(self, order: Order) -> list[AckFile]:
        return [_ack(order, _acked(order).replace(b'"ACKED"', b"ACKED"))]


class Slow(Rule, frozen=True):
    """The file grows under its final name, as from an ERP that knows no better."""

    spread: Seconds = 3

    def files(self, order: Order) -> list[AckFile]:
        return [_ack(order, _acked(order), over=self.spread)]


class Latin1(Rule, frozen=True):
    def files(self, order: Order) -> list[AckFile]:
        return [_ack(order, _acked(order, message="Auftrag übernommen").decode().encode("latin-1"))]


class DoubleSuffix(Rule, frozen=True):
    def files(self, order: Order) -> list[AckFile]:
        return [AckFile(f"ack_{order.filename}.json", _acked(order))]


class Empty(Rule, frozen=True):
    def files(self, order: Order) -> list[AckFile]:
        return [_ack(order, b"")]


_UNREADABLE = Error(code="ERP_VALIDATION", message="The file is not an order.")

ANSWERS: dict[str, type[Rule]] = {
    "success": Success,
    "error": Error,
    "silence": Silence,
    "duplicate": Duplicate,
    "contrary": Contrary,
    "malformed": Malformed,
    "slow": Slow,
    "latin1": Latin1,
    "double-suffix": DoubleSuffix,
    "empty": Empty,
}


@dataclass(frozen=True, slots=True)
class Script:
    """The first rule that fits an order answers it; an order that fits none is accepted."""

    rules: tuple[Rule, ...] = ()

    @classmethod
    def load(cls, path: Path = DEFAULT_SCRIPT) -> "Script":
        """Read a script. Raises ScriptError."""
        try:
            return cls.parse(path.read_text("utf-8"))
        except OSError as e:
            raise ScriptError(f"{path}: {e.strerror}") from e
        except ValueError as e:
            raise ScriptError(f"{path}: {e}") from e

    @classmethod
    def parse(cls, text: str) -> "Script":
        """Parse a script. Raises ScriptError."""
        try:
            tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError as e:
            raise ScriptError(str(e)) from e
        rules = tables.pop("rule", [])
        if tables or not isinstance(rules, list):
            raise ScriptError("A script consists of [[rule]] tables and nothing else.")
        return cls(tuple(_parse(rule, number) for number, rule in enumerate(rules, 1)))

    def rule_for(self, order: Order) -> Rule:
        if order.document is None:
            return _UNREADABLE
        return next((rule for rule in self.rules if rule.fits(order)), Success())


def _parse(table: object, number: int) -> Rule:
    settings = dict(table) if isinstance(table, dict) else {}
    kind = ANSWERS.get(str(settings.pop("answer", "")))
    if kind is None:
        raise ScriptError(f"rule {number}: answer must be one of {', '.join(ANSWERS)}.")
    try:
        return msgspec.convert(settings, kind)
    except msgspec.ValidationError as e:
        raise ScriptError(f"rule {number}: {e}") from e


def _fits(pattern: str | None, values: Iterable[str]) -> bool:
    return pattern is None or any(fnmatchcase(value, pattern) for value in values)


def _ack(order: Order, content: bytes, *, over: float = 0) -> AckFile:
    return AckFile(f"ack_{order.filename}", content, over=over)


def _acked(order: Order, **more: str) -> bytes:
    return _encoded({"status": "ACKED", "erp_order_id": order.erp_order_id, **more})


def _error(order: Order, code: str, message: str, *, after: float = 0) -> AckFile:
    content = _encoded({"status": "FAILED", "error_code": code, "message": message})
    return AckFile(f"error_{order.filename}", content, after=after)


def _encoded(answer: dict[str, str]) -> bytes:
    answer["processed_at"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps(answer, ensure_ascii=False, indent=2).encode()
