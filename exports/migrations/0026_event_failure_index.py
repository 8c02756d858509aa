from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("exports", "0025_event_kinds"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="erpexport",
            options={
                "ordering": ["-created_at", "-id"],
                "permissions": [
                    ("cancel_erpexport", "Can cancel exports that were not sent"),
                    ("resolve_erpexport", "Can say what became of exports"),
                ],
                "verbose_name": "ERP export",
            },
        ),
        migrations.RemoveIndex(
            model_name="erpexportevent",
            name="idx_erp_export_event_failure",
        ),
        migrations.AlterField(
            model_name="erpack",
            name="classification",
            field=models.CharField(
                choices=[
                    ("WAITING", "waiting for its export to be sent"),
                    ("APPLIED", "applied"),
                    ("DUPLICATE", "duplicate"),
                    ("CONFLICT", "contradicts an earlier ack"),
                    ("LATE", "about an older export"),
                    ("UNMATCHED", "matches no export"),
                    ("MALFORMED", "malformed"),
                    ("DISMISSED", "dismissed"),
                ],
                max_length=20,
            ),
        ),
        migrations.AlterField(
            model_name="erpexportevent",
            name="kind",
            field=models.CharField(
                choices=[
                    ("CREATED", "created"),
                    ("STAGING", "staging"),
                    ("STAGED", "staged"),
                    ("RESUMED", "resumed"),
                    ("REQUESTED", "delivery requested"),
                    ("ATTEMPT_FAILED", "attempt failed"),
                    ("SENT", "sent"),
                    ("PICKED_UP", "picked up"),
                    ("ACKED", "acknowledged"),
                    ("REFUSED", "refused by the ERP"),
                    ("CONTRADICTED", "contradicted by another ack"),
                    ("FAILED", "failed"),
                    ("RESOLVING", "being resolved manually"),
                    ("RESOLVED", "resolved manually"),
                    ("CANCELLED", "cancelled"),
                    ("CLEANED_UP", "staging files removed"),
                ],
                max_length=20,
            ),
        ),
        migrations.AddIndex(
            model_name="erpexportevent",
            index=models.Index(
                condition=models.Q(
                    ("kind__in", ["FAILED", "REFUSED", "RESOLVED"]), ("status", "FAILED")
                ),
                fields=["at"],
                name="idx_erp_export_event_failure",
            ),
        ),
    ]
