from django.db import migrations, models

APPROVED = models.Q(approved_at__isnull=False, approved_by__isnull=False, approved_hash__gt="")


class Migration(migrations.Migration):
    dependencies = [("orders", "0004_dashboard_indexes")]
    operations = [
        migrations.RemoveConstraint(
            model_name="draftorder", name="draft_order_approved_by_someone"
        ),
        migrations.AddConstraint(
            model_name="draftorder",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["APPROVED", "PUSHING"]), _negated=True)
                | APPROVED,
                name="draft_order_approved_by_someone",
            ),
        ),
    ]
