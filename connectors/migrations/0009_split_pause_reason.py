from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import Case, F, Q, TextField, Value, When
from django.db.models.fields.json import KT

# Errors that kept acks from being read during the pause of a person, after which they were found.
_BARRING = [
    "ALGO_MISMATCH",
    "ADDRESS_DENIED",
    "HOST_KEY_UNKNOWN",
    "HOST_KEY_CHANGED",
    "AUTH_FAILED",
    "AUTH_METHOD",
    "KEY_UNREADABLE",
    "KEY_PASSPHRASE",
    "NO_SFTP_SUBSYSTEM",
    "CONFIG_UNREADABLE",
    "CONFIG_INVALID",
    "PATH_DENIED",
    "NO_SIZE",
]


def split(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    connections = apps.get_model("connectors", "ErpConnection").objects.using(
        schema_editor.connection.alias
    )
    connections.filter(paused_by__isnull=False).update(
        pause_text=F("pause_code"),
        pause_code=Case(
            When(Q(last_error__code__in=_BARRING), then=KT("last_error__code")),
            default=Value("BY_PERSON"),
            output_field=TextField(),
        ),
    )


def join(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    connections = apps.get_model("connectors", "ErpConnection").objects.using(
        schema_editor.connection.alias
    )
    connections.filter(paused_by__isnull=False).update(pause_code=F("pause_text"), pause_text="")


class Migration(migrations.Migration):
    dependencies = [
        ("connectors", "0008_pause_code"),
    ]

    operations = [migrations.RunPython(split, join)]
