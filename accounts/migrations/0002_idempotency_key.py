import uuid

import django.db.models.deletion
from django.db import migrations, models

import kernel.db


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("key", models.CharField(max_length=255)),
                ("request_sha256", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField(db_default=kernel.db.Now())),
                ("status", models.PositiveSmallIntegerField(null=True)),
                ("headers", models.JSONField(default=dict)),
                ("body", models.TextField()),
                (
                    "org",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="accounts.org",
                    ),
                ),
            ],
            options={
                "db_table": "idempotency_key",
                "indexes": [
                    models.Index(fields=["created_at"], name="idx_idempotency_key_created")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("org", "key"), name="idempotency_key_org_key_unique"
                    )
                ],
            },
        ),
    ]
