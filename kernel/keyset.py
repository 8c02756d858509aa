"""Rows after a position in any order of a list: each page costs about the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from django.db import connections
from django.db.models import Model, Q, QuerySet

_NOTHING = Q(pk__in=[])


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One of the fields by which rows are ordered, by its path from the model.

    `nulls_last` is None for a field that always has a value.
    """

    name: str
    descending: bool
    nulls_last: bool | None = None

    @classmethod
    def parse(cls, order: str) -> Self:
        """A field that always has a value, as `order_by` names it."""
        return cls(name=order.removeprefix("-"), descending=order.startswith("-"))

    @property
    def order(self) -> str:
        return f"{'-' if self.descending else ''}{self.name}"

    def value_of(self, row: Model) -> Any:
        value: Any = row
        for name in self.name.split("__"):
            value = None if value is None else getattr(value, name)
        return value

    def beyond(self, value: Any) -> Q:
        """Rows that come after all those with this value."""
        if value is None:
            return _NOTHING if self.nulls_last else Q(**{f"{self.name}__isnull": False})
        return self._compare("lt" if self.descending else "gt", value)

    def from_on(self, value: Any) -> Q:
        """Rows with this value or beyond it."""
        if value is None:
            return Q(**{f"{self.name}__isnull": True}) if self.nulls_last else Q()
        return self._compare("lte" if self.descending else "gte", value)

    def _compare(self, lookup: str, value: Any) -> Q:
        found = Q(**{f"{self.name}__{lookup}": value})
        return found | Q(**{f"{self.name}__isnull": True}) if self.nulls_last else found


def after(keys: Sequence[Key], values: Sequence[Any]) -> Q:
    """Rows that come after the one with these values; the last key is unique.

    The condition on the first key follows from the rest, but an index can be entered by it.
    """
    (key, *others), (value, *rest) = keys, values
    if not others:
        return key.beyond(value)
    return key.from_on(value) & (key.beyond(value) | after(others, rest))


def read_by_key(rows: QuerySet[Any], *, size: int) -> Iterator[Any]:
    """Every row in the order of `rows`, `size` with each statement, without a cursor.

    Each statement sees its own moment: a row that moves in the order meanwhile may come twice or
    not at all.
    """
    keys = [*_keys(rows.model, rows.query.order_by, nulls_largest=_puts_nulls_at_large_end(rows))]
    ordered = rows.order_by(*(key.order for key in keys))
    chunk = list(ordered[:size])
    while chunk:
        yield from chunk
        if len(chunk) < size:
            return
        values = [key.value_of(chunk[-1]) for key in keys]
        chunk = list(ordered.filter(after(keys, values))[:size])


def _puts_nulls_at_large_end(rows: QuerySet[Any]) -> bool:
    return bool(connections[rows.db].features.nulls_order_largest)


def _keys(model: type[Model], order_by: Sequence[Any], *, nulls_largest: bool) -> Iterator[Key]:
    """The keys of names as `order_by` takes them, ended by the primary key."""
    pk = model._meta.pk.name
    for order in order_by:
        for name, descending in _fields(model, order):
            if name in ("pk", pk):
                yield Key(name=pk, descending=descending)
                return
            is_nullable = any(field.null for field in _path(model, name))
            yield Key(
                name=name,
                descending=descending,
                nulls_last=nulls_largest is not descending if is_nullable else None,
            )
    yield Key(name=pk, descending=True)


def _fields(model: type[Model], order: str) -> Iterator[tuple[str, bool]]:
    """Each field that an entry of `order_by` stands for: a relation is ordered as its model is."""
    name, descending = order.removeprefix("-"), order.startswith("-")
    field = _path(model, name)[-1] if name != "pk" else None
    if field is None or not field.is_relation or name.endswith(field.attname):
        yield name, descending
        return
    related: type[Model] = field.related_model
    if not related._meta.ordering:
        yield f"{name.removesuffix(field.name)}{field.attname}", descending
    for inner in related._meta.ordering or ():
        assert isinstance(inner, str)
        for path, is_reversed in _fields(related, inner):
            yield f"{name}__{path}", descending is not is_reversed


def _path(model: type[Model], name: str) -> list[Any]:
    """The fields along a path, without `pk`."""
    fields: list[Any] = []
    for part in name.split("__"):
        fields.append(model._meta.get_field(part))
        model = fields[-1].related_model
    return fields
