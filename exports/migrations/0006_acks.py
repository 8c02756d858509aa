from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("connectors", "0004_ack_polls"),
        ("exports", "0005_operators_settle"),
        ("orders", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="erpack",
            options={
                "ordering": ["-seen_at", "-id"],
                "permissions": [("decide_erpack", "Can decide what acks mean")],
                "verbose_name": "ERP ack",
            },
        ),
        migrations.AddField(
            model_name="erpack",
            name="erp_order_id",
            field=models.TextField(null=True, verbose_name="ERP order number"),
        ),
        migrations.AddField(
            model_name="erpack",
            name="error_code",
            field=models.TextField(null=True),
        ),
        migrations.AddField(
            model_name="erpack",
            name="is_accepted",
            field=models.BooleanField(null=True),
        ),
        migrations.AddField(
            model_name="erpack",
            name="message",
            field=models.TextField(null=True),
        ),
        migrations.AddField(
            model_name="erpack",
            name="modified_at",
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="erpack",
            name="processed_at",
            field=models.DateTimeField(null=True, verbose_name="processed by the ERP at"),
        ),
        migrations.AddField(
            model_name="erpack",
            name="size",
            field=models.BigIntegerField(null=True),
        ),
        migrations.AlterField(
            model_name="erpack",
            name="sha256",
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.AlterField(
            model_name="erpexportevent",
            name="kind",
            field=models.CharField(
                choices=[
                    ("CREATED", "created"),
                    ("STAGING", "staging"),
                    ("STAGED", "staged"),
                    ("RESUMED", "resumed"),
                    ("REQUESTED", "delivery requested"),
                    ("ATTEMPT_FAILED", "attempt failed"),
                    ("SENT", "sent"),
                    ("PICKED_UP", "picked up"),
                    ("ACKED", "acknowledged"),
                    ("REFUSED", "refused by the ERP"),
                    ("ANSWERED", "answered again"),
                    ("FAILED", "failed"),
                    ("SETTLED", "settled by hand"),
                    ("CANCELLED", "cancelled"),
                    ("SWEPT", "staging files removed"),
                ],
                max_length=20,
            ),
        ),
        migrations.AddIndex(
            model_name="erpack",
            index=models.Index(
                condition=models.Q(
                    ("decided_at", None),
                    ("verdict__in", ["CONFLICT", "LATE", "UNMATCHED", "MALFORMED"]),
                ),
                fields=["org", "-seen_at"],
                name="idx_erp_ack_open",
            ),
        ),
        migrations.AddIndex(
            model_name="erpexport",
            index=models.Index(fields=["filename"], name="idx_erp_export_filename"),
        ),
        migrations.AddIndex(
            model_name="erpexport",
            index=models.Index(
                condition=models.Q(("status", "SENT")),
                fields=["erp_connection", "sent_at"],
                name="idx_erp_export_unanswered",
            ),
        ),
    ]
