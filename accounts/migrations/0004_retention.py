import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_rate_windows"),
    ]

    operations = [
        migrations.AddField(
            model_name="org",
            name="keep_acks_days",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="The files that the ERP has answered with, as text. Empty: for ever.",
                null=True,
                validators=[django.core.validators.MinValueValidator(30)],
            ),
        ),
        migrations.AddField(
            model_name="org",
            name="keep_archive_days",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="The documents of exports, in the archive. They leave the database too then. Empty: for ever.",
                null=True,
                validators=[django.core.validators.MinValueValidator(30)],
            ),
        ),
        migrations.AddField(
            model_name="org",
            name="keep_events_days",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="The histories of exports. Empty: for ever.",
                null=True,
                validators=[django.core.validators.MinValueValidator(30)],
            ),
        ),
        migrations.AddField(
            model_name="org",
            name="keep_payloads_days",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="The documents of exports, in the database. Empty: for ever.",
                null=True,
                validators=[django.core.validators.MinValueValidator(30)],
            ),
        ),
        migrations.AddConstraint(
            model_name="org",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("keep_payloads_days__gte", 30), ("keep_payloads_days", None), _connector="OR"
                ),
                name="org_keep_payloads_days_not_too_short",
            ),
        ),
        migrations.AddConstraint(
            model_name="org",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("keep_archive_days__gte", 30), ("keep_archive_days", None), _connector="OR"
                ),
                name="org_keep_archive_days_not_too_short",
            ),
        ),
        migrations.AddConstraint(
            model_name="org",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("keep_events_days__gte", 30), ("keep_events_days", None), _connector="OR"
                ),
                name="org_keep_events_days_not_too_short",
            ),
        ),
        migrations.AddConstraint(
            model_name="org",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("keep_acks_days__gte", 30), ("keep_acks_days", None), _connector="OR"
                ),
                name="org_keep_acks_days_not_too_short",
            ),
        ),
    ]
