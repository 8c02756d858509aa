from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_rate_windows"),
        ("orders", "0002_list_indexes"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddIndex(
            model_name="draftorder",
            index=models.Index(
                fields=["org", "external_order_number"], name="idx_draft_order_org_number"
            ),
        ),
    ]
