from django.db import migrations, models

import kernel.db


class Migration(migrations.Migration):
    dependencies = [
        ("connectors", "0003_connection_test"),
    ]

    operations = [
        migrations.AddField(
            model_name="erpconnection",
            name="ack_error",
            field=models.JSONField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="erpconnection",
            name="poll_due_at",
            field=models.DateTimeField(db_default=kernel.db.Now(), editable=False),
        ),
    ]
