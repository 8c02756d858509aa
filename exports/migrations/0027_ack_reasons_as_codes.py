from django.db import migrations, models


class Migration(migrations.Migration):
    """The column `reason` keeps what people wrote, and the sentences of earlier releases."""

    dependencies = [("exports", "0026_event_failure_index")]

    operations = [
        migrations.AlterField("erpack", "reason", models.TextField(blank=True, db_column="reason")),
        migrations.RenameField("erpack", "reason", "note"),
        migrations.AddField(
            "erpack",
            "reason_code",
            models.CharField(blank=True, db_default="", default="", max_length=40),
        ),
        migrations.AddField(
            "erpack", "reason_values", models.JSONField(db_default={}, default=dict)
        ),
    ]
