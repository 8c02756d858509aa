"""Rename kinds of events, and the permission to resolve exports, to the field's terms."""

from collections.abc import Mapping

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

_KINDS = {
    "SETTLED": "RESOLVED",
    "SETTLING": "RESOLVING",
    "SWEPT": "CLEANED_UP",
    "ANSWERED": "CONTRADICTED",
}
_PERMISSIONS = {"settle_erpexport": "resolve_erpexport"}


def rename(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    _rename(apps, _KINDS, _PERMISSIONS)


def rename_back(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    _rename(
        apps,
        {new: old for old, new in _KINDS.items()},
        {new: old for old, new in _PERMISSIONS.items()},
    )


def _rename(apps: Apps, kinds: Mapping[str, str], permissions: Mapping[str, str]) -> None:
    events = apps.get_model("exports", "ErpExportEvent").objects
    for old, new in kinds.items():
        events.filter(kind=old).update(kind=new)
    # A group keeps a permission whatever it is called.
    rows = apps.get_model("auth", "Permission").objects.filter(content_type__app_label="exports")
    for old, new in permissions.items():
        rows.filter(codename=old).update(codename=new)


class Migration(migrations.Migration):
    dependencies = [
        ("exports", "0024_field_terms"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]
    operations = [migrations.RunPython(rename, rename_back)]
