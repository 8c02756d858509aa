from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("exports", "0014_tallies"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="erpexport",
            index=models.Index(fields=["export_storage_key"], name="idx_erp_export_storage_key"),
        ),
    ]
