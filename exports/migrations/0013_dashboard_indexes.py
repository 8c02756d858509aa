from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_rate_windows"),
        ("connectors", "0006_secrets_set"),
        ("exports", "0012_list_indexes"),
        ("orders", "0004_dashboard_indexes"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddIndex(
            model_name="erpexport",
            index=models.Index(
                condition=models.Q(("ack_due_at__isnull", False), ("status", "SENT")),
                fields=["erp_connection", "ack_due_at"],
                name="idx_erp_export_ack_due",
            ),
        ),
        migrations.AddIndex(
            model_name="erpexport",
            index=models.Index(fields=["-created_at", "-id"], name="idx_erp_export_created"),
        ),
        migrations.AddIndex(
            model_name="erpexport",
            index=models.Index(
                condition=models.Q(("sent_at__isnull", False)),
                fields=["erp_connection", "sent_at", "status"],
                name="idx_erp_export_sent",
            ),
        ),
        migrations.AddIndex(
            model_name="erpexport",
            index=models.Index(
                condition=models.Q(("acked_at__isnull", False)),
                fields=["erp_connection", "acked_at", "sent_at"],
                name="idx_erp_export_acked",
            ),
        ),
        migrations.AddIndex(
            model_name="erpexportevent",
            index=models.Index(
                condition=models.Q(
                    ("kind__in", ["FAILED", "REFUSED", "SETTLED"]), ("status", "FAILED")
                ),
                fields=["at"],
                name="idx_erp_export_event_failure",
            ),
        ),
    ]
