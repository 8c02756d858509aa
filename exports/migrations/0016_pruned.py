from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("exports", "0015_storage_key_index"),
    ]

    operations = [
        migrations.AddField(
            model_name="erpack",
            name="raw_pruned_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="erpexport",
            name="archive_pruned_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="erpexport",
            name="events_pruned_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="erpexport",
            name="payload_pruned_at",
            field=models.DateTimeField(null=True),
        ),
    ]
