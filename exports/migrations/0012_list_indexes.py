from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_rate_windows"),
        ("connectors", "0005_poll_rung"),
        ("exports", "0011_updated_index"),
        ("orders", "0002_list_indexes"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name="erpack",
            name="org",
            field=models.ForeignKey(
                db_index=False, on_delete=models.PROTECT, related_name="erp_acks", to="accounts.org"
            ),
        ),
        migrations.AddIndex(
            model_name="erpack",
            index=models.Index(fields=["org", "-seen_at", "-id"], name="idx_erp_ack_org_seen"),
        ),
        migrations.AddIndex(
            model_name="erpack",
            index=models.Index(
                fields=["org", "verdict", "-seen_at", "-id"], name="idx_erp_ack_org_verdict"
            ),
        ),
        migrations.AddIndex(
            model_name="erpack",
            index=models.Index(
                fields=["org", "erp_connection", "-seen_at", "-id"],
                name="idx_erp_ack_org_connection",
            ),
        ),
        migrations.AddIndex(
            model_name="erpexport",
            index=models.Index(
                fields=["org", "status", "-created_at", "-id"], name="idx_erp_export_org_status"
            ),
        ),
        migrations.AddIndex(
            model_name="erpexport",
            index=models.Index(
                fields=["org", "erp_connection", "-created_at", "-id"],
                name="idx_erp_export_org_connection",
            ),
        ),
        migrations.AddIndex(
            model_name="erpexport",
            index=models.Index(
                condition=models.Q(("erp_order_id__isnull", False)),
                fields=["org", "erp_order_id"],
                name="idx_erp_export_erp_order",
            ),
        ),
        migrations.AddIndex(
            model_name="erpexport",
            index=models.Index(
                condition=models.Q(("ack_due_at__isnull", False), ("status", "SENT")),
                fields=["org", "-created_at", "-id"],
                name="idx_erp_export_awaited",
            ),
        ),
    ]
