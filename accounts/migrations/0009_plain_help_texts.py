"""Labels and help texts in plain words; no table changes."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0008_end_sessions"),
    ]

    operations = [
        migrations.AlterField(
            model_name="apitoken",
            name="org",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="api_tokens",
                to="accounts.org",
                verbose_name="organisation",
            ),
        ),
        migrations.AlterField(
            model_name="membership",
            name="gets_mail",
            field=models.BooleanField(
                db_default=True,
                default=True,
                help_text="Mails about what needs attention, if the user may see it and has an address.",
                verbose_name="gets mail",
            ),
        ),
        migrations.AlterField(
            model_name="membership",
            name="org",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="memberships",
                to="accounts.org",
                verbose_name="organisation",
            ),
        ),
        migrations.AlterField(
            model_name="org",
            name="keep_acks_days",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Contents of acks. Empty: kept forever.",
                null=True,
                validators=[django.core.validators.MinValueValidator(30)],
            ),
        ),
        migrations.AlterField(
            model_name="org",
            name="keep_archive_days",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Files of exports in the archive. They are then removed from the database too. Empty: kept forever.",
                null=True,
                validators=[django.core.validators.MinValueValidator(30)],
            ),
        ),
        migrations.AlterField(
            model_name="org",
            name="keep_events_days",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Timelines of exports. Empty: kept forever.",
                null=True,
                validators=[django.core.validators.MinValueValidator(30)],
            ),
        ),
        migrations.AlterField(
            model_name="org",
            name="keep_payloads_days",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Files of exports in the database. Empty: kept forever.",
                null=True,
                validators=[django.core.validators.MinValueValidator(30)],
            ),
        ),
        migrations.AlterField(
            model_name="org",
            name="slug",
            field=models.SlugField(
                help_text="Part of every exported file, as org_slug.", max_length=63, unique=True
            ),
        ),
    ]
