"""The groups that bundle permissions: Viewer, Approver, Operator, Integration."""

from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

VIEW = {
    f"{app}.view_{model}"
    for app, models in {
        "accounts": ["org"],
        "orders": ["customer", "sourcedocument", "draftorder", "draftorderline"],
        "connectors": ["erpconnection"],
        "exports": ["erpexport", "erpexportevent", "erpack"],
    }.items()
    for model in models
}
WRITE_ORDERS = {
    f"orders.{verb}_{model}"
    for verb in ("add", "change")
    for model in ("customer", "sourcedocument", "draftorder", "draftorderline")
} | {"orders.delete_draftorderline"}
DECIDE = {"orders.approve_draftorder", "orders.push_draftorder", "exports.cancel_erpexport"}
CONNECT = {f"connectors.{verb}_erpconnection" for verb in ("add", "change", "test", "pause")}

GROUPS = {
    "Viewer": VIEW,
    "Approver": VIEW | WRITE_ORDERS | DECIDE,
    "Operator": VIEW | CONNECT | {"orders.push_draftorder", "exports.cancel_erpexport"},
    "Integration": VIEW | WRITE_ORDERS | DECIDE,
}


def create_groups(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    # Permissions are made when all migrations are done; the groups need them now.
    for label in ("accounts", "orders", "connectors", "exports"):
        config = apps.get_app_config(label)
        config.models_module = True  # type: ignore[assignment]  # any true value will do
        create_permissions(config, apps=apps, verbosity=0)
        config.models_module = None
    permissions = {
        f"{p.content_type.app_label}.{p.codename}": p
        for p in apps.get_model("auth", "Permission").objects.select_related("content_type")
    }
    for name, codes in GROUPS.items():
        group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=name)
        group.permissions.set([permissions[code] for code in codes])


def delete_groups(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("auth", "Group").objects.filter(name__in=GROUPS).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("exports", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(create_groups, delete_groups)]
