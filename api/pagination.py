"""Pages of a list, each by the position of the last row before it, and lists of what changed."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db.models import DateTimeField, Field, Model, QuerySet
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive
from django.utils.translation import gettext as _
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from kernel.db import committed_before
from kernel.keyset import Key, after
from kernel.problems import WrongParameter

PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 200
SINCE: Final = "updated_since"
NOT_A_DATETIME: Final = "Enter a time with its zone, like 2025-12-01T08:00:00Z."

# Of a row: its value of the field by which the list is ordered, and its key.
Position = tuple[Any, Any]


class KeysetPagination(BasePagination):
    """Newest first, or as `ordering` says. A page costs the same wherever it is.

    The cursor is where the last page ended: a time and an id. Unlike an offset it stays right
    while rows come and go. A view says how its list may be ordered (`orderings`, the usual one
    first), and whether changes can be followed with `updated_since` (`has_changes`):
    then the oldest change comes first, and there is always a next page, now or later.
    """

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        given = request.query_params
        self._url = request.build_absolute_uri()
        self._is_feed = view.has_changes and SINCE in given
        if self._is_feed:
            try:
                since = parse_iso_datetime(given[SINCE])
            except ValueError as e:
                raise WrongParameter({SINCE: NOT_A_DATETIME}) from e
            queryset = queryset.filter(updated_at__gte=since, updated_at__lt=committed_before())
            self._order = _choice(given.get("ordering", "updated_at"), ["updated_at"])
        else:
            self._order = _choice(given.get("ordering", view.orderings[0]), view.orderings)
        size = _page_size(given.get("page_size", str(PAGE_SIZE)))
        position = _position(queryset.model, self._order, given.get("cursor"))
        rows = list(_after(queryset, self._order, position)[: size + 1])
        self._has_more = len(rows) > size
        self._page = rows[:size]
        return self._page

    def get_paginated_response(self, data: Any) -> Response:
        following = None
        if self._page and (self._has_more or self._is_feed):
            following = replace_query_param(self._url, "cursor", self._cursor())
        elif self._is_feed:
            following = self._url
        return Response({"next": following, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {
                "next": {
                    "type": ["string", "null"],
                    "format": "uri",
                    "description": "The next page; null: this is the last one.",
                },
                "results": schema,
            },
            "required": ["next", "results"],
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        parameters = [
            (
                "ordering",
                {"type": "string", "enum": list(view.orderings), "default": view.orderings[0]},
                "",
            ),
            (
                "page_size",
                {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": PAGE_SIZE},
                "",
            ),
            ("cursor", {"type": "string"}, "Where the page begins: part of `next`."),
        ]
        if view.has_changes:
            feed = (
                "Follow changes: objects changed since this time, the oldest change first. There "
                "is always a `next`; request it again later for newer changes. An object may "
                "appear twice, but none is missed."
            )
            parameters.append((SINCE, {"type": "string", "format": "date-time"}, feed))
        return [
            {"name": name, "in": "query", "description": description, "schema": schema}
            for name, schema, description in parameters
        ]

    def _cursor(self) -> str:
        last: Model = self._page[-1]
        value = _field(type(last), self._order).value_to_string(last)
        return urlsafe_b64encode(f"{value} {last.pk}".encode()).decode().rstrip("=")


def _after(queryset: QuerySet[Any], order: str, position: Position | None) -> QuerySet[Any]:
    keys = [Key.parse(order), Key.parse("-id" if order.startswith("-") else "id")]
    ordered = queryset.order_by(*(key.order for key in keys))
    return ordered.filter(after(keys, position)) if position else ordered


def _position(model: type[Model], order: str, cursor: str | None) -> Position | None:
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        value, __, key = urlsafe_b64decode(padded).decode().partition(" ")
        field = _field(model, order)
        is_time = isinstance(field, DateTimeField)
        at = parse_iso_datetime(value) if is_time else field.to_python(value)
        return at, _field(model, "id").to_python(key)
    except (ValueError, ValidationError) as e:
        raise WrongParameter({"cursor": _("Use the cursor from `next` unchanged.")}) from e


def _field(model: type[Model], order: str) -> "Field[Any, Any]":
    name = order.lstrip("-")
    field = model._meta.get_field(name)
    assert isinstance(field, Field)
    return field


def parse_iso_datetime(text: str) -> datetime:
    """Return a time in UTC: databases do not take every offset. Raises ValueError."""
    # A plus sign that was not escaped has become a blank.
    at = parse_datetime(text.replace(" ", "+"))
    if at is None or is_naive(at):
        raise ValueError
    try:
        return at.astimezone(UTC)
    except OverflowError as e:
        raise ValueError from e


def _choice(ordering: str, orderings: Collection[str]) -> str:
    if ordering not in orderings:
        raise WrongParameter({"ordering": f"Choose one of {', '.join(orderings)}."})
    return ordering


def _page_size(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= (size := int(text[:5])) <= MAX_PAGE_SIZE:
        return size
    raise WrongParameter({"page_size": f"Enter a number from 1 to {MAX_PAGE_SIZE}."})
