from typing import Any

from django.db import migrations

from kernel.db import Now


def push_accepted_orders(apps: Any, schema_editor: Any) -> None:
    """Until now a rejected order stayed rejected when the ERP accepted its export late."""
    AuditEntry = apps.get_model("accounts", "AuditEntry")
    DraftOrder = apps.get_model("orders", "DraftOrder")
    ErpExport = apps.get_model("exports", "ErpExport")
    accepted = ErpExport.objects.filter(status="ACKED").exclude(draft_order__status="PUSHED")
    for export in accepted.select_related("draft_order").defer("payload"):
        order = export.draft_order
        AuditEntry.objects.create(
            org_id=order.org_id,
            action="order.accepted_late",
            object_type="orders.draftorder",
            object_id=str(order.id),
            object_label=order.external_order_number or str(order.id)[:8],
            before={"status": order.status},
            after={
                "status": "PUSHED",
                "export": export.id,
                "filename": export.filename,
                "erp_order_id": export.erp_order_id,
            },
        )
        DraftOrder.objects.filter(id=order.id).update(status="PUSHED", updated_at=Now())


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0007_append_only_audit"),
        ("exports", "0021_approvals_of_exports"),
        ("orders", "0005_pushed_without_approval"),
    ]
    # Backwards the orders stay pushed: that is what they are.
    operations = [migrations.RunPython(push_accepted_orders, migrations.RunPython.noop)]
