"""Orders are called orders, organisations in full; no table changes."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0009_plain_help_texts"),
        ("orders", "0005_pushed_without_approval"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="draftorder",
            options={
                "ordering": ["-created_at", "-id"],
                "permissions": [
                    ("approve_draftorder", "Can approve and reject draft orders"),
                    ("push_draftorder", "Can push approved draft orders"),
                ],
                "verbose_name": "order",
            },
        ),
        migrations.AlterField(
            model_name="customer",
            name="org",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="customers",
                to="accounts.org",
                verbose_name="organisation",
            ),
        ),
        migrations.AlterField(
            model_name="draftorder",
            name="customer_name",
            field=models.CharField(
                blank=True,
                help_text="The customer's name in this order, if it differs from the stored name.",
                max_length=300,
            ),
        ),
        migrations.AlterField(
            model_name="draftorder",
            name="org",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="draft_orders",
                to="accounts.org",
                verbose_name="organisation",
            ),
        ),
        migrations.AlterField(
            model_name="sourcedocument",
            name="org",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="source_documents",
                to="accounts.org",
                verbose_name="organisation",
            ),
        ),
    ]
