import django.core.serializers.json
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import kernel.db


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_mail_wanted"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField(db_default=kernel.db.Now(), verbose_name="time")),
                ("actor_name", models.TextField(blank=True, verbose_name="by")),
                ("address", models.TextField(blank=True)),
                ("request_id", models.TextField(blank=True, verbose_name="request id")),
                ("action", models.TextField()),
                ("object_type", models.TextField(blank=True)),
                ("object_id", models.TextField(blank=True)),
                ("object_label", models.TextField(blank=True)),
                (
                    "before",
                    models.JSONField(
                        default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder
                    ),
                ),
                (
                    "after",
                    models.JSONField(
                        default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder
                    ),
                ),
                (
                    "actor",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "org",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="accounts.org",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "audit entries",
                "db_table": "audit_entry",
                "ordering": ["-at", "-id"],
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["-at", "-id"], name="idx_audit_entry_at"),
                    models.Index(fields=["org", "-at", "-id"], name="idx_audit_entry_org"),
                    models.Index(fields=["object_id", "-at", "-id"], name="idx_audit_entry_object"),
                ],
            },
        ),
    ]
