from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("connectors", "0004_ack_polls"),
    ]

    operations = [
        migrations.AddField(
            model_name="erpconnection",
            name="poll_rung_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
    ]
