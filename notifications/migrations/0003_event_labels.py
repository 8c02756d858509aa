"""Labels of events in the words of the admin; no table changes."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0009_plain_help_texts"),
        ("notifications", "0002_operators_notified"),
    ]

    operations = [
        migrations.AlterField(
            model_name="notification",
            name="event_type",
            field=models.CharField(
                choices=[
                    ("export.sent", "export sent"),
                    ("export.acked", "export acknowledged by the ERP"),
                    ("export.failed", "export failed"),
                    ("export.overdue", "ack overdue"),
                    ("ack.conflict", "ack contradicts an earlier one"),
                    ("connection.paused", "connection paused"),
                    ("connection.recovered", "connection works again"),
                    ("webhook.test", "test of the webhook"),
                    ("webhook.disabled", "webhook disabled"),
                ],
                max_length=40,
                verbose_name="event",
            ),
        ),
        migrations.AlterField(
            model_name="webhook",
            name="org",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="webhook",
                to="accounts.org",
                verbose_name="organisation",
            ),
        ),
    ]
