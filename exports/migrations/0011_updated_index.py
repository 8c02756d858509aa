from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_idempotency_key"),
        ("connectors", "0005_poll_rung"),
        ("exports", "0010_groups_see_batches"),
        ("orders", "0002_list_indexes"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddIndex(
            model_name="erpexport",
            index=models.Index(
                fields=["org", "updated_at", "id"], name="idx_erp_export_org_updated"
            ),
        ),
    ]
