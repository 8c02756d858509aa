import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0003_rate_windows"),
        ("orders", "0003_number_index"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="draftorder",
            name="idx_draft_order_org_number",
        ),
        migrations.AlterField(
            model_name="draftorder",
            name="customer",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="draft_orders",
                to="orders.customer",
            ),
        ),
        migrations.AddIndex(
            model_name="draftorder",
            index=models.Index(
                fields=["org", "external_order_number"],
                name="idx_draft_order_org_number",
                opclasses=["uuid_ops", "varchar_pattern_ops"],
            ),
        ),
        migrations.AddIndex(
            model_name="draftorder",
            index=models.Index(
                fields=["customer", "-created_at", "-id"], name="idx_draft_order_customer"
            ),
        ),
        migrations.AddIndex(
            model_name="draftorder",
            index=models.Index(fields=["-created_at", "-id"], name="idx_draft_order_created"),
        ),
        migrations.AddIndex(
            model_name="draftorder",
            index=models.Index(
                condition=models.Q(
                    ("status__in", ["NEEDS_REVIEW", "READY", "APPROVED", "PUSHING", "ERROR"])
                ),
                fields=["status", "-created_at", "-id"],
                name="idx_draft_order_open",
            ),
        ),
    ]
