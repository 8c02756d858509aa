"""Triggers that refuse to change or delete entries of the audit log."""

from typing import Final

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

_REFUSE: Final = {
    "postgresql": [
        """
        CREATE FUNCTION audit_entry_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'audit_entry is append-only' USING ERRCODE = 'restrict_violation';
        END
        $$
        """,
        """
        CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE ON audit_entry
        FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_refuse()
        """,
    ],
    "sqlite": [
        f"""
        CREATE TRIGGER audit_entry_no_{verb} BEFORE {verb} ON audit_entry
        BEGIN SELECT RAISE(ABORT, 'audit_entry is append-only'); END
        """
        for verb in ("update", "delete")
    ],
}
_ALLOW: Final = {
    "postgresql": [
        "DROP TRIGGER audit_entry_append_only ON audit_entry",
        "DROP FUNCTION audit_entry_refuse",
    ],
    "sqlite": ["DROP TRIGGER audit_entry_no_update", "DROP TRIGGER audit_entry_no_delete"],
}


def refuse(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in _REFUSE[schema_editor.connection.vendor]:
        schema_editor.execute(statement)


def allow(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for statement in _ALLOW[schema_editor.connection.vendor]:
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_audit_entries")]
    operations = [migrations.RunPython(refuse, allow)]
