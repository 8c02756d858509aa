from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("exports", "0018_ack_index")]
    operations = [
        migrations.AlterField(
            model_name="erpack",
            name="sha256",
            field=models.CharField(max_length=64, verbose_name="SHA-256"),
        ),
    ]
