import uuid

from django.db import migrations, models

import kernel.db


class Migration(migrations.Migration):
    dependencies = [
        ("exports", "0002_groups"),
    ]

    operations = [
        migrations.CreateModel(
            name="Worker",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("host", models.TextField()),
                ("pid", models.PositiveIntegerField()),
                (
                    "processes",
                    models.PositiveIntegerField(help_text="How many tasks it runs at once."),
                ),
                ("started_at", models.DateTimeField(db_default=kernel.db.Now())),
                ("beat_at", models.DateTimeField(db_default=kernel.db.Now())),
            ],
            options={
                "db_table": "worker",
            },
        ),
    ]
