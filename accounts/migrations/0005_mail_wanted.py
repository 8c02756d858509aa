from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_retention"),
    ]

    operations = [
        migrations.AddField(
            model_name="membership",
            name="gets_mail",
            field=models.BooleanField(
                db_default=True,
                default=True,
                help_text="About what needs a person, if the user may receive it and has an address.",
                verbose_name="gets mail",
            ),
        ),
    ]
