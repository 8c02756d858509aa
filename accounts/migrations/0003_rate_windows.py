from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_idempotency_key"),
    ]

    operations = [
        migrations.CreateModel(
            name="RateWindow",
            fields=[
                ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("count", models.IntegerField()),
                (
                    "ends_at",
                    models.BigIntegerField(
                        db_index=True, help_text="Unix time, by the database's clock."
                    ),
                ),
            ],
            options={
                "db_table": "rate_window",
                "default_permissions": (),
            },
        ),
    ]
