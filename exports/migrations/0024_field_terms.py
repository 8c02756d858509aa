"""Rename columns, tables and indexes to the field's terms."""

from django.db import migrations, models
from django.db.models import Q

_OPEN = ["CONFLICT", "LATE", "UNMATCHED", "MALFORMED"]


class Migration(migrations.Migration):
    dependencies = [("exports", "0023_batch_item_content")]

    operations = [
        migrations.RenameField("batch", "rung_at", "enqueued_at"),
        migrations.RenameField("erpexport", "settling_since", "resolving_since"),
        migrations.RenameIndex(
            "erpexport", old_name="idx_erp_export_unanswered", new_name="idx_erp_export_not_acked"
        ),
        # SQLite copies a table whose column is renamed, with the indexes that the model has.
        migrations.RemoveIndex("erpexport", "idx_erp_export_unswept"),
        migrations.RenameField("erpexport", "swept_at", "cleaned_up_at"),
        migrations.AddIndex(
            "erpexport",
            models.Index(
                fields=["erp_connection"],
                condition=Q(cleaned_up_at=None, attempts__gt=1)
                | Q(cleaned_up_at=None, status="FAILED"),
                name="idx_erp_export_not_cleaned",
            ),
        ),
        migrations.RemoveIndex("erpack", "idx_erp_ack_open"),
        migrations.RemoveIndex("erpack", "idx_erp_ack_org_verdict"),
        migrations.RenameField("erpack", "verdict", "classification"),
        migrations.AddIndex(
            "erpack",
            models.Index(
                fields=["org", "-seen_at"],
                condition=Q(classification__in=_OPEN, decided_at=None),
                name="idx_erp_ack_open",
            ),
        ),
        migrations.AddIndex(
            "erpack",
            models.Index(
                fields=["org", "classification", "-seen_at", "-id"],
                name="idx_erp_ack_org_classification",
            ),
        ),
        migrations.RemoveConstraint("tally", "tally_once"),
        migrations.RenameModel("Tally", "Counter"),
        migrations.AlterModelTable("counter", "erp_export_counter"),
        migrations.AddConstraint(
            "counter",
            models.UniqueConstraint(
                fields=["erp_connection", "outcome", "label"], name="erp_export_counter_once"
            ),
        ),
        migrations.RenameModel("TallyProgress", "CounterProgress"),
        migrations.AlterModelTable("counterprogress", "erp_export_counter_progress"),
        migrations.RenameField("counterprogress", "counted", "position"),
        migrations.RenameField("counterprogress", "noted", "high_watermark"),
        migrations.RenameField("counterprogress", "noted_at", "high_watermark_at"),
    ]
