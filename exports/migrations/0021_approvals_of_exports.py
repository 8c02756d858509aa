"""Give exports the approvals of their orders and, backwards, orders those of their exports."""

from typing import Any

from django.db import migrations
from django.db.migrations.exceptions import IrreversibleError
from django.db.models import F, OuterRef, Q, Subquery


def fill_exports(apps: Any, schema_editor: Any) -> None:
    """An order's approval is that of the exports that were made after it."""
    ErpExport = apps.get_model("exports", "ErpExport")
    DraftOrder = apps.get_model("orders", "DraftOrder")
    order = DraftOrder.objects.filter(id=OuterRef("draft_order"))
    ErpExport.objects.filter(
        approved_hash="",
        draft_order__approved_by__isnull=False,
        draft_order__approved_hash__gt="",
        draft_order__approved_at__lte=F("created_at"),
    ).update(
        approved_by=Subquery(order.values("approved_by")),
        approved_hash=Subquery(order.values("approved_hash")),
    )


def fill_orders(apps: Any, schema_editor: Any) -> None:
    """The older version knows no PUSHED order without an approval: it gets that of its export."""
    ErpExport = apps.get_model("exports", "ErpExport")
    DraftOrder = apps.get_model("orders", "DraftOrder")
    unapproved = DraftOrder.objects.filter(status="PUSHED").filter(
        Q(approved_by=None) | Q(approved_at=None) | Q(approved_hash="")
    )
    for order in unapproved:
        export = ErpExport.objects.filter(
            draft_order=order,
            status__in=["SENT", "ACKED"],
            approved_by__isnull=False,
            approved_hash__gt="",
        ).first()
        if export:
            DraftOrder.objects.filter(id=order.id).update(
                approved_by=export.approved_by,
                # It was approved by then; when exactly, no row says.
                approved_at=export.created_at,
                approved_hash=export.approved_hash,
            )
    if left := [str(key) for key in unapproved.values_list("id", flat=True)]:
        raise IrreversibleError(
            "The older version needs an approval of each pushed order. It is not known who "
            "approved these, which the ERP accepted late. Set their approved_by, approved_at and "
            f"approved_hash in draft_order, then migrate again: {', '.join(left)}"
        )


class Migration(migrations.Migration):
    dependencies = [
        ("exports", "0020_export_keeps_its_approval"),
        # Undone before it: then all pushed orders have an approval again.
        ("orders", "0005_pushed_without_approval"),
    ]
    operations = [migrations.RunPython(fill_exports, fill_orders)]
