from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("connectors", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="erpconnection",
            name="slow_since",
            field=models.DateTimeField(editable=False, null=True),
        ),
    ]
