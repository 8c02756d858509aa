import uuid

import django.core.serializers.json
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import connectors.fields
import kernel.db


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("accounts", "0003_rate_windows"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Notification",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "event_type",
                    models.CharField(
                        choices=[
                            ("export.sent", "export sent"),
                            ("export.acked", "export acknowledged by the ERP"),
                            ("export.failed", "export failed"),
                            ("export.overdue", "answer of the ERP overdue"),
                            ("ack.conflict", "answer contradicts an earlier one"),
                            ("connection.paused", "connection paused"),
                            ("connection.recovered", "connection delivers again"),
                            ("webhook.test", "test of the webhook"),
                            ("webhook.disabled", "webhook disabled"),
                        ],
                        max_length=40,
                        verbose_name="event",
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("data", models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder)),
                ("webhook_due_at", models.DateTimeField(null=True, verbose_name="next attempt at")),
                ("attempts", models.PositiveIntegerField(db_default=0, default=0)),
                ("delivered_at", models.DateTimeField(null=True)),
                ("mail_due_at", models.DateTimeField(null=True)),
                ("mailed_at", models.DateTimeField(null=True)),
                (
                    "org",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="notifications",
                        to="accounts.org",
                    ),
                ),
            ],
            options={
                "db_table": "notification",
                "ordering": ["-created_at", "-id"],
                "permissions": [
                    ("redeliver_notification", "Can deliver notifications again"),
                    ("receive_mail", "Gets mail about what needs a person"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Webhook",
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
                ("url", models.CharField(max_length=1000, verbose_name="URL")),
                ("event_types", models.JSONField(default=list, verbose_name="events")),
                ("active", models.BooleanField(db_default=True, default=True)),
                ("config_encrypted", connectors.fields.EncryptedConfigField(editable=False)),
                ("secret_set_at", models.DateTimeField(editable=False)),
                ("created_at", models.DateTimeField(db_default=kernel.db.Now(), editable=False)),
                ("updated_at", models.DateTimeField(db_default=kernel.db.Now(), editable=False)),
                ("failures", models.PositiveIntegerField(db_default=0, default=0, editable=False)),
                ("failing_since", models.DateTimeField(editable=False, null=True)),
                ("retry_at", models.DateTimeField(editable=False, null=True)),
                ("last_error", models.TextField(blank=True, editable=False)),
                ("disabled_at", models.DateTimeField(editable=False, null=True)),
                ("disabled_reason", models.TextField(blank=True, editable=False)),
                (
                    "org",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="webhook",
                        to="accounts.org",
                    ),
                ),
                (
                    "secret_set_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "db_table": "webhook",
            },
        ),
        migrations.CreateModel(
            name="WebhookAttempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField()),
                ("url", models.TextField(verbose_name="URL")),
                ("status", models.PositiveSmallIntegerField(null=True)),
                ("milliseconds", models.PositiveIntegerField()),
                ("error", models.TextField(blank=True)),
                ("response", models.TextField(blank=True)),
                (
                    "notification",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="webhook_attempts",
                        to="notifications.notification",
                    ),
                ),
            ],
            options={
                "db_table": "webhook_attempt",
                "ordering": ["id"],
            },
        ),
        migrations.AddIndex(
            model_name="notification",
            index=models.Index(
                fields=["org", "-created_at", "-id"], name="idx_notification_org_created"
            ),
        ),
        migrations.AddIndex(
            model_name="notification",
            index=models.Index(fields=["created_at"], name="idx_notification_created"),
        ),
        migrations.AddIndex(
            model_name="notification",
            index=models.Index(
                condition=models.Q(("webhook_due_at__isnull", False)),
                fields=["org", "webhook_due_at"],
                name="idx_notification_webhook_due",
            ),
        ),
        migrations.AddIndex(
            model_name="notification",
            index=models.Index(
                condition=models.Q(("mail_due_at__isnull", False)),
                fields=["org", "mail_due_at"],
                name="idx_notification_mail_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="webhook",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("disabled_at", None), ("disabled_reason", "")),
                    models.Q(
                        ("active", False),
                        ("disabled_at__isnull", False),
                        models.Q(("disabled_reason", ""), _negated=True),
                    ),
                    _connector="OR",
                ),
                name="webhook_disabled_for_a_reason",
            ),
        ),
    ]
