import datetime

import django.db.models.deletion
from django.db import migrations, models

import kernel.db


class Migration(migrations.Migration):
    dependencies = [
        ("connectors", "0006_secrets_set"),
        ("exports", "0013_dashboard_indexes"),
    ]

    operations = [
        migrations.CreateModel(
            name="TallyProgress",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("counted", models.BigIntegerField(default=0)),
                ("noted", models.BigIntegerField(default=0)),
                ("noted_at", models.DateTimeField(db_default=kernel.db.Now())),
            ],
            options={
                "db_table": "tally_progress",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Tally",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("created", "Created"),
                            ("sent", "Sent"),
                            ("acked", "Acked"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                            ("attempt_failed", "Attempt Failed"),
                        ],
                        max_length=20,
                    ),
                ),
                ("label", models.CharField(blank=True, max_length=50)),
                ("count", models.BigIntegerField(default=0)),
                ("took", models.DurationField(default=datetime.timedelta)),
                (
                    "erp_connection",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="connectors.erpconnection",
                    ),
                ),
            ],
            options={
                "db_table": "tally",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("erp_connection", "outcome", "label"), name="tally_once"
                    )
                ],
            },
        ),
    ]
