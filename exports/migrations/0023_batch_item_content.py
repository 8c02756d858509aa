from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("exports", "0022_accepted_orders_are_pushed")]
    operations = [
        migrations.AddField(
            model_name="batchitem",
            name="content_sha256",
            field=models.CharField(blank=True, db_default="", max_length=64),
        ),
    ]
