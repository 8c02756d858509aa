"""The ERP's acks in a dropzone, and what became of them."""

import json
from typing import Any

from accounts.models import Org, User
from connectors.models import ErpConnection
from exports.delivery.protocol import deliver
from exports.models import ErpAck, ErpExport
from orders.models import DraftOrder
from tests.support.builders import some_exports
from tests.support.dropzones import Dropzone


def some_sent(
    erp: ErpConnection, org: Org, ann: User, count: int, *, first: int = 0
) -> list[ErpExport]:
    exports = some_exports(org, ann, count, first=first)
    assert deliver(erp.id).sent == count
    return exports


def write(dropzone: Dropzone, name: str, content: Any) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    (dropzone.acks / name).write_bytes(data)


def accept(dropzone: Dropzone, export: ErpExport, number: str | None = "SO-1") -> None:
    write(dropzone, f"ack_{export.filename}", {"status": "ACKED", "erp_order_id": number})


def refuse(dropzone: Dropzone, export: ErpExport, code: str = "CUSTOMER_UNKNOWN") -> None:
    answer = {"status": "FAILED", "error_code": code, "message": "No such customer"}
    write(dropzone, f"error_{export.filename}", answer)


def places(dropzone: Dropzone) -> dict[str, list[str]]:
    """The files in the ack folder and where they are put away."""
    folders = {"waiting": dropzone.acks} | {
        name: dropzone.acks / name for name in ("processed", "error")
    }
    return {
        name: sorted(p.name for p in folder.iterdir() if p.is_file()) if folder.exists() else []
        for name, folder in folders.items()
    }


def classifications() -> list[str]:
    return sorted(ErpAck.objects.values_list("classification", flat=True))


def state(export: ErpExport) -> tuple[str, str]:
    """The export's and its order's status."""
    export = ErpExport.objects.get(id=export.id)
    return export.status, DraftOrder.objects.get(id=export.draft_order_id).status
