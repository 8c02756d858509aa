import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("exports", "0019_ack_sha256_label"),
    ]

    operations = [
        migrations.AddField(
            model_name="erpexport",
            name="approved_by",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="erpexport",
            name="approved_hash",
            field=models.CharField(
                blank=True,
                db_default="",
                max_length=64,
                verbose_name="SHA-256 of the approved content",
            ),
        ),
    ]
