"""End the sessions whose key is the cookie itself: since now, the key is its hash.

Going back ends them too. The older service would take the hash for the cookie.
"""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def end_sessions(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("sessions", "Session").objects.all().delete()


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0007_append_only_audit"),
        ("sessions", "0001_initial"),
    ]

    operations = [migrations.RunPython(end_sessions, end_sessions)]
