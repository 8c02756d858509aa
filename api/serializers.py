"""Strict serializer fields: unknown fields are errors, and an absent text is null for clients."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar, cast

from django.db import models
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty

from connectors.catalogue import FORMER_OWNERS
from kernel.limits import MAX_ERRORS

T = TypeVar("T")
M = TypeVar("M", bound=models.Model)


# White space at both ends is cut off, and something must remain. No text has a null character.
NOT_BLANK: Final = r"^[^\x00]*[^\x00\s][^\x00]*$"


class Text(serializers.CharField):
    """A text that, when absent, is null for clients and '' in the database.

    A number is not allowed: 1e5 could be several texts.
    """

    def run_validation(self, data: Any = empty) -> Any:
        return super().run_validation("" if data is None else data)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        # Before white space at its ends is left out: the schema counts it, too.
        if self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return super().to_internal_value(data)

    def to_representation(self, value: Any) -> Any:
        return super().to_representation(value) or None


class Person(serializers.CharField):
    """A user, named as histories name one."""

    def __init__(self, field: str, **kwargs: Any) -> None:
        super().__init__(source=f"{field}.contact", read_only=True, **kwargs)


class Boolean(serializers.BooleanField):
    """True or false, and no word or number that stands for it."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


@extend_schema_field({"$ref": "#/components/schemas/ErrorReport"})
class ErrorReport(serializers.JSONField):
    """What ConnectorError.as_json() made of an error, and where it happened."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, allow_null=True, **kwargs)

    def to_representation(self, value: Any) -> Any:
        if value and value.get("owner") in FORMER_OWNERS:
            return {**value, "owner": FORMER_OWNERS[value["owner"]].value}
        return value


class StrictSerializer(serializers.Serializer[T]):
    """Refuses a body with fields that would be ignored: the sender meant something by them."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = self._unknown(data) if isinstance(data, Mapping) else {}
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as e:
            # All that is wrong is said at once.
            raise serializers.ValidationError({**cast(dict[str, Any], e.detail), **unknown}) from e
        if unknown:
            raise serializers.ValidationError(unknown)
        return value

    def _unknown(self, data: Mapping[str, Any]) -> dict[str, str]:
        writable = {name for name, field in self.fields.items() if not field.read_only}
        unknown = [name for name in data if name not in writable]
        return dict.fromkeys(unknown, "This field is unknown or read-only.")

    @property
    def writable_data(self) -> dict[str, Any]:
        """What a client would have to send to get this object as it is."""
        shown: dict[str, Any] = _writable(self, self.data)
        return shown


class BoundedListField(serializers.ListField):
    """Counts its elements before it looks at them."""

    def to_internal_value(self, data: Any) -> Any:
        if self.max_length is not None and isinstance(data, list) and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return super().to_internal_value(data)


class BoundedListSerializer(serializers.ListSerializer[Any]):
    """Leaves elements unchecked once so many were wrong that no other error is reported."""

    _wrong = 0

    def to_internal_value(self, data: Any) -> Any:
        self._wrong = 0
        return super().to_internal_value(data)

    def run_child_validation(self, data: Any) -> Any:
        if self._wrong == MAX_ERRORS:
            return {}
        try:
            return super().run_child_validation(data)
        except serializers.ValidationError:
            self._wrong += 1
            raise


class StrictModelSerializer(StrictSerializer[M], serializers.ModelSerializer[M]):
    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.CharField: Text,
        models.TextField: Text,
        models.BooleanField: Boolean,
    }


def _writable(field: serializers.Field[Any, Any, Any, Any] | None, shown: Any) -> Any:
    if isinstance(field, serializers.ListSerializer):
        return [_writable(field.child, one) for one in shown]
    if isinstance(field, serializers.Serializer) and shown is not None:
        return {
            name: _writable(inner, shown[name])
            for name, inner in field.fields.items()
            if not inner.read_only
        }
    return shown
