from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("connectors", "0005_poll_rung"),
    ]

    operations = [
        migrations.AddField(
            model_name="erpconnection",
            name="secrets_set",
            field=models.JSONField(db_default={}, default=dict, editable=False),
        ),
    ]
