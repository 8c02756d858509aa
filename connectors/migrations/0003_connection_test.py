import uuid

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import kernel.db


class Migration(migrations.Migration):
    dependencies = [
        ("connectors", "0002_slow_lane"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ConnectionTest",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=kernel.db.RandomUUID(),
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("requested_at", models.DateTimeField(db_default=kernel.db.Now())),
                ("rung_at", models.DateTimeField(null=True)),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("steps", models.JSONField(db_default=[], default=list)),
                ("success", models.BooleanField(null=True)),
                (
                    "connection",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="tests",
                        to="connectors.erpconnection",
                    ),
                ),
                (
                    "requested_by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "connection_test",
                "ordering": ["-requested_at"],
                "indexes": [
                    models.Index(
                        condition=models.Q(("finished_at", None)),
                        fields=["requested_at"],
                        name="idx_connection_test_waiting",
                    )
                ],
            },
        ),
    ]
