from django.db import migrations, models

import kernel.db


class Migration(migrations.Migration):
    dependencies = [
        ("connectors", "0006_secrets_set"),
    ]

    operations = [
        migrations.CreateModel(
            name="DeliveryInstance",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False),
                ),
                ("name", models.TextField()),
                ("database", models.TextField()),
                ("claimed_at", models.DateTimeField(db_default=kernel.db.Now())),
            ],
            options={
                "db_table": "delivery_instance",
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id", 1)), name="delivery_instance_only_one"
                    )
                ],
            },
        ),
    ]
