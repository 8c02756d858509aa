from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("exports", "0017_auditors"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="erpack",
            index=models.Index(fields=["-seen_at", "-id"], name="idx_erp_ack_seen"),
        ),
    ]
