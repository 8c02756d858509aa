"""The invariants, checked from the database, the ERP's record, the folders and the events."""

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from django.db import connection

from chaos.site import Site
from exports.lifecycle import allows, legal_steps
from exports.models import ErpExport, ErpExportEvent
from orders.models import DraftOrder

Status = ErpExport.Status
Kind = ErpExportEvent.Kind
# A run has no acks and no manual decisions, so an export that has left PENDING never changes again.
_LEGAL = {(a, b) for a, b in legal_steps() if a == Status.PENDING or a == b}
_SHOWN = 20

# A trigger checks each change of an export while the run lasts.
_WATCH = """
    CREATE TABLE IF NOT EXISTS chaos_illegal (filename text, what text);
    CREATE OR REPLACE FUNCTION chaos_check() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF (NEW.filename, NEW.payload, NEW.payload_sha256, NEW.draft_order_id,
            NEW.approved_by_id, NEW.approved_hash)
           IS DISTINCT FROM (OLD.filename, OLD.payload, OLD.payload_sha256, OLD.draft_order_id,
            OLD.approved_by_id, OLD.approved_hash)
        THEN
            INSERT INTO chaos_illegal VALUES (OLD.filename, 'I6 a frozen column changed');
        END IF;
        IF OLD.staged_path IS NOT NULL AND (NEW.staged_path, NEW.destination)
           IS DISTINCT FROM (OLD.staged_path, OLD.destination)
        THEN
            INSERT INTO chaos_illegal VALUES (OLD.filename, 'I6 a claim changed');
        END IF;
        IF (OLD.status || ' ' || NEW.status) NOT IN ({legal}) THEN
            INSERT INTO chaos_illegal
            VALUES (OLD.filename, 'I7 ' || OLD.status || ' became ' || NEW.status);
        END IF;
        RETURN NULL;
    END $$;
    CREATE OR REPLACE TRIGGER chaos_check AFTER UPDATE ON erp_export
    FOR EACH ROW EXECUTE FUNCTION chaos_check();
"""


def watch_the_database() -> None:
    """Let PostgreSQL record each change of an export that violates an invariant."""
    with connection.cursor() as cursor:
        legal = ", ".join(f"'{before} {after}'" for before, after in sorted(_LEGAL))
        cursor.execute(_WATCH.replace("{legal}", legal))


@dataclass(kw_only=True)
class Findings:
    """The number of exports with each kind of damage, and a sentence for each violation."""

    orders: int = 0
    lost: int = 0
    duplicated: int = 0
    partial: int = 0
    stuck: int = 0
    leftover_tmp: int = 0
    violated: list[str] = field(default_factory=list)


class _Sightings:
    """What the ERP saw, by file name."""

    def __init__(self, record: Path) -> None:
        self.appeared: Counter[str] = Counter()
        self.taken: dict[str, list[str]] = defaultdict(list)
        self.changed: set[str] = set()
        self.lines: dict[str, list[str]] = defaultdict(list)
        self.is_complete = True
        for line in map(json.loads, record.read_text().splitlines()):
            name, what = line["name"], line["what"]
            self.lines[name].append(f"{line['at']:.3f} ERP: {what}")
            if what == "appeared":
                self.appeared[name] += 1
            elif what == "taken":
                self.taken[name].append(line["sha256"])
            elif what == "changed":
                self.changed.add(name)
            elif what == "overflow":
                self.is_complete = False


def check(site: Site, *, record: Path, ledger: Path, slugs: list[str]) -> Findings:
    """Check everything, after the faults have ended and all exports had time to finish."""
    findings = Findings()
    seen = _Sightings(record)
    if not seen.is_complete:
        findings.violated.append("harness: the kernel lost events of the folders")
    for folder in site.exports:
        for path in folder.glob("sales_order_*.json"):
            seen.taken[path.name].append(hashlib.sha256(path.read_bytes()).hexdigest())
    exports = list(
        ErpExport.objects.filter(org__slug__in=slugs)
        .order_by("created_at")
        .prefetch_related("events")
        .select_related("draft_order")
    )
    for export in exports:
        _check_export(export, seen, findings)
    _check_orders(exports, seen, findings)
    _check_pushes(exports, ledger, findings)
    known = {export.filename for export in exports}
    findings.violated += [
        f"I2 {name}: belongs to no export" for name in seen.appeared if name not in known
    ]
    for path, content in site.foreign_files():
        if not path.exists() or path.read_bytes() != content:
            findings.violated.append(f"I11 {path.name}: a foreign file was changed")
    left = site.staging_files()
    findings.leftover_tmp = len(left)
    findings.violated += [f"I12 {name} was left behind" for name in left]
    with connection.cursor() as cursor:
        cursor.execute("SELECT what, filename FROM chaos_illegal")
        findings.violated += [
            f"{what}: {name}" for what, name in cursor.fetchall() if name in known
        ]
    more = len(findings.violated) - _SHOWN
    if more > 0:
        findings.violated = [*findings.violated[:_SHOWN], f"and {more} more"]
    return findings


def _check_export(export: ErpExport, seen: _Sightings, findings: Findings) -> None:
    name = export.filename
    found: list[str] = []
    times = max(seen.appeared[name], len(seen.taken[name]))
    if times > 1:
        findings.duplicated += 1
        found.append(f"I1 appeared {times} times")
    if name in seen.changed or set(seen.taken[name]) - {export.payload_sha256}:
        findings.partial += 1
        found.append("I2 appeared with different bytes")
    if export.status == Status.SENT and not times:
        findings.lost += 1
        found.append("I3 is SENT but never appeared")
    if export.status == Status.PENDING:
        findings.stuck += 1
        paused = export.erp_connection.pause_reason
        found.append(f"I4 is still pending: {export.error_json}, connection paused: {paused!r}")
    if export.status == Status.FAILED and times:
        found.append("I5 is FAILED but appeared")
    if export.approved_by_id is None or not export.approved_hash:
        found.append("I6 has no approval")
    if hashlib.sha256(export.content or b"").hexdigest() != export.payload_sha256:
        found.append("I6 its bytes have changed")
    found += _check_history(export)
    if found:
        findings.violated += [f"{what}: {name}" for what in found[:-1]]
        findings.violated.append(f"{found[-1]}: {name}: {_timeline(export, seen)}")


def _check_history(export: ErpExport) -> list[str]:
    """Replay the events of an export and compare them with the table of legal changes."""
    found = []
    events = list(export.events.all())
    statuses = [event.status for event in events]
    steps = pairwise(events)
    is_legal = all(
        allows(after.kind, before.status, after.status) and (before.status, after.status) in _LEGAL
        for before, after in steps
    )
    if statuses[0] != Status.PENDING or statuses[-1] != export.status or not is_legal:
        found.append(f"I7 has the history {statuses}")
    claimed = [event.detail["path"] for event in events if event.kind == Kind.STAGED]
    if claimed != ([export.staged_path] if export.staged_path else []):
        found.append(f"I6 was claimed as {claimed} and is staged as {export.staged_path}")
    ends = sum(event.kind in (Kind.SENT, Kind.FAILED, Kind.CANCELLED) for event in events)
    if ends != (export.status != Status.PENDING):
        found.append(f"I7 ended {ends} times")
    return found


def _check_orders(exports: list[ErpExport], seen: _Sightings, findings: Findings) -> None:
    by_order: dict[DraftOrder, list[ErpExport]] = defaultdict(list)
    for export in exports:
        by_order[export.draft_order].append(export)
    for order, mine in by_order.items():
        visible = [e.filename for e in mine if seen.appeared[e.filename]]
        live = [e for e in mine if e.status in ErpExport.LIVE]
        findings.orders += any(e.status == Status.SENT for e in mine)
        if len(visible) > 1:
            findings.duplicated += 1
            findings.violated.append(f"I1 order {order} became visible as {visible}")
        if len(live) > 1:
            findings.violated.append(f"I10 order {order} has {len(live)} live exports")
        is_sent = any(e.status == Status.SENT for e in mine)
        if is_sent != (order.status == DraftOrder.Status.PUSHED):
            findings.violated.append(
                f"I7 order {order} is {order.status}, its export sent: {is_sent}"
            )


def _check_pushes(exports: list[ErpExport], ledger: Path, findings: Findings) -> None:
    """Compare each export with the line that the generator wrote when it was made."""
    now = {str(e.id): f"{e.filename} {e.payload_sha256}" for e in exports}
    for line in ledger.read_text().splitlines():
        key, _, frozen = line.partition(" ")
        if now.get(key) != frozen:
            findings.violated.append(f"I6 export {key} was {frozen}, is {now.get(key)}")


def _timeline(export: ErpExport, seen: _Sightings) -> list[str]:
    def shown(detail: dict[str, Any]) -> str:
        return str({k: detail[k] for k in ("tmp", "path", "evidence", "code") if k in detail})

    events = [
        f"{event.at.timestamp():.3f} {event.kind} {shown(event.detail)}"
        for event in export.events.all()
    ]
    return sorted(events + seen.lines[export.filename])
