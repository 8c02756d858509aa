from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("connectors", "0007_delivery_instance"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="erpconnection",
            name="erp_connection_pause_has_reason",
        ),
        migrations.RenameField(
            model_name="erpconnection",
            old_name="pause_reason",
            new_name="pause_code",
        ),
        migrations.AddField(
            model_name="erpconnection",
            name="pause_text",
            field=models.TextField(blank=True, db_default="", editable=False),
        ),
    ]
