"""Key rotation: every stored secret is encrypted anew with the first of FERNET_KEYS."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db import models, transaction

from accounts import audit
from accounts.audit import Action
from connectors.errors import ConnectorError
from connectors.fields import EncryptedConfigField


@dataclass(slots=True)
class RotationSummary:
    """How many values are encrypted anew, and how many were already; `unreadable`: which ones no
    key opens, as "<table>.<column> <id>"."""

    rotated: int = 0
    current: int = 0
    unreadable: list[str] = field(default_factory=list)


def rotate() -> RotationSummary:
    """Encrypt with the first key what is not; may be repeated, and ended at any moment.

    Each row is locked for itself: who changes it meanwhile comes before or after. Nothing else of
    the row changes, for what it says stays the same.
    """
    summary = RotationSummary()
    for model, column in _encrypted_fields():
        for key in model._default_manager.values_list("pk", flat=True).order_by("pk").iterator():
            try:
                _rotate_row(model, column, key, summary)
            except ConnectorError:
                summary.unreadable.append(f"{model._meta.db_table}.{column.column} {key}")
    return summary


def _rotate_row(
    model: type[models.Model], column: EncryptedConfigField, key: Any, summary: RotationSummary
) -> None:
    row = model._default_manager.filter(pk=key)
    with transaction.atomic():
        sealed = row.select_for_update(no_key=True).values_list(column.name, flat=True).first()
        if sealed is None:
            return
        resealed = column.resealed(sealed)
        if resealed is None:
            summary.current += 1
        else:
            row.update(**{column.name: resealed})
            audit.record(Action.SECRET_REENCRYPTED, row.get(), actor=None)
            summary.rotated += 1


def _encrypted_fields() -> Iterator[tuple[type[models.Model], EncryptedConfigField]]:
    for model in apps.get_models():
        for column in model._meta.concrete_fields:
            if isinstance(column, EncryptedConfigField):
                yield model, column
