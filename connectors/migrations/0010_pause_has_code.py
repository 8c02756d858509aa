from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [
        ("connectors", "0009_split_pause_reason"),
    ]

    operations = [
        migrations.AddConstraint(
            model_name="erpconnection",
            constraint=models.CheckConstraint(
                condition=Q(paused_at=None, pause_code="", paused_by=None, pause_text="")
                | Q(paused_at__isnull=False, paused_by=None, pause_text="")
                & ~Q(pause_code__in=["", "BY_PERSON"])
                | Q(paused_at__isnull=False, paused_by__isnull=False)
                & ~Q(pause_code="")
                & ~Q(pause_text=""),
                name="erp_connection_pause_has_code",
            ),
        ),
    ]
