"""The group Auditor: whoever is in it sees everything, the audit log too, and changes nothing."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from accounts.grants import grant

VIEW = [
    f"{app}.view_{model}"
    for app, models in {
        "accounts": ["org", "auditentry"],
        "orders": ["customer", "sourcedocument", "draftorder", "draftorderline"],
        "connectors": ["erpconnection"],
        "exports": ["erpexport", "erpexportevent", "erpack", "batch", "batchitem"],
    }.items()
    for model in models
]


def create_group(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("auth", "Group").objects.get_or_create(name="Auditor")


def delete_group(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("auth", "Group").objects.filter(name="Auditor").delete()


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_append_only_audit"), ("exports", "0016_pruned")]
    operations = [migrations.RunPython(create_group, delete_group), grant("Auditor", *VIEW)]
