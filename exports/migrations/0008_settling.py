from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("exports", "0007_operators_decide_acks"),
    ]

    operations = [
        migrations.AddField(
            model_name="erpexport",
            name="settling_since",
            field=models.DateTimeField(null=True),
        ),
        migrations.AlterField(
            model_name="erpack",
            name="sha256",
            field=models.CharField(max_length=64),
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
                    ("PICKED_UP", "picked up"),
                    ("ACKED", "acknowledged"),
                    ("REFUSED", "refused by the ERP"),
                    ("ANSWERED", "answered again"),
                    ("FAILED", "failed"),
                    ("SETTLING", "being settled by hand"),
                    ("SETTLED", "settled by hand"),
                    ("CANCELLED", "cancelled"),
                    ("SWEPT", "staging files removed"),
                ],
                max_length=20,
            ),
        ),
    ]
