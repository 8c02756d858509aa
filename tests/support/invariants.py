"""The invariants, checked after all faults have ended and all exports had time to finish."""

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import pairwise

from exports.lifecycle import allows
from exports.models import ErpAck, ErpExport
from orders.models import DraftOrder

Status = ErpExport.Status


def assert_kept(
    made: Collection[ErpExport],
    taken: Mapping[tuple[str, bytes], int],
    leftovers: Collection[str],
    *,
    where: str = "",
) -> None:
    """Compare exports as they were `made`, what the ERP has `taken`, and the ledger.

    The ERP takes every file that it sees; `leftovers` are the staging files after the cleanup.
    """
    seen = Counter[str]()
    for (name, _), times in taken.items():
        seen[name] += times
    whole = {(e.filename, e.content) for e in made}
    assert max(seen.values(), default=0) <= 1, f"{where}: visible more than once"
    assert taken.keys() <= whole, f"{where}: visible with other bytes"
    assert not leftovers, f"{where}: staging files are left"
    for before in made:
        now = ErpExport.objects.select_related("draft_order").get(id=before.id)
        assert now.status != Status.PENDING, f"{where}: stuck with {now.error_json}"
        was_sent = now.status in (Status.SENT, Status.ACKED)
        assert was_sent == (seen[now.filename] == 1), f"{where}: {now.status}, but seen otherwise"
        frozen = ["filename", "content", "payload_sha256", "draft_order_id"]
        frozen += ["approved_by_id", "approved_hash"]
        assert all(getattr(now, n) == getattr(before, n) for n in frozen), f"{where}: changed"
        live = now.draft_order.exports.filter(status__in=ErpExport.LIVE)
        assert live.count() == was_sent, f"{where}: live exports"
        assert_order_fits(now.draft_order, where)
        _assert_history(now, where)
        _assert_acks(now, where)


def assert_order_fits(order: DraftOrder, where: str = "") -> None:
    """An order is pushed if and only if it has a live export; only approved content was sent."""
    live = [e.status for e in order.exports.all() if e.status in ErpExport.LIVE]
    out = {"PENDING": "PUSHING", "SENT": "PUSHED", "ACKED": "PUSHED"}
    expected = [out[status] for status in live]
    is_out = order.status in out.values()
    assert ([order.status] if is_out else []) == expected, f"{where}: {order.status} with {live}"
    for export in order.exports.all():
        assert export.approved_by_id and export.approved_hash, f"{where}: sent without approval"


def _assert_history(export: ErpExport, where: str) -> None:
    """Replay the events."""
    events = list(export.events.all())
    assert (events[0].kind, events[-1].status) == ("CREATED", export.status), f"{where}: {events}"
    for earlier, later in pairwise(events):
        assert allows(later.kind, earlier.status, later.status), f"{where}: {events}"
    claimed = [e.detail["path"] for e in events if e.kind == "STAGED"]
    assert claimed == [export.staged_path] * (export.staged_path is not None), f"{where}: claims"
    assert sum(e.kind == "SENT" for e in events) == (export.sent_at is not None), f"{where}: sent"


def _assert_acks(export: ErpExport, where: str) -> None:
    applied = export.acks.filter(classification=ErpAck.Classification.APPLIED)
    assert applied.count() == (export.status == Status.ACKED), f"{where}: acks"
    assert not applied.filter(decided_at__lt=export.sent_at), f"{where}: ack before sent"
