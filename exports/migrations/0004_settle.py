from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("exports", "0003_worker"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="erpexport",
            options={
                "ordering": ["-created_at", "-id"],
                "permissions": [
                    ("cancel_erpexport", "Can cancel exports that were not sent"),
                    ("settle_erpexport", "Can say what became of exports"),
                ],
                "verbose_name": "ERP export",
            },
        ),
        migrations.AlterField(
            model_name="erpexportevent",
            name="kind",
            field=models.CharField(
                choices=[
                    ("CREATED", "created"),
                    ("STAGING", "staging"),
                    ("STAGED", "staged"),
                    ("RESUMED", "resumed"),
                    ("REQUESTED", "delivery requested"),
                    ("ATTEMPT_FAILED", "attempt failed"),
                    ("SENT", "sent"),
                    ("FAILED", "failed"),
                    ("SETTLED", "settled by hand"),
                    ("CANCELLED", "cancelled"),
                    ("SWEPT", "staging files removed"),
                ],
                max_length=20,
            ),
        ),
    ]
