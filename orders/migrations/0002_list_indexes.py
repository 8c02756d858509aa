from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_idempotency_key"),
        ("orders", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddIndex(
            model_name="draftorder",
            index=models.Index(
                fields=["org", "-created_at", "-id"], name="idx_draft_order_org_created"
            ),
        ),
        migrations.AddIndex(
            model_name="draftorder",
            index=models.Index(
                fields=["org", "updated_at", "id"], name="idx_draft_order_org_updated"
            ),
        ),
    ]
