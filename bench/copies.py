"""Copies of rows, made in the database: a million in a few minutes."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import connection as database
from django.db import models, transaction
from django.db.backends.utils import CursorWrapper

from exports.models import ErpExport


def copy_exports(
    pattern: ErpExport,
    numbers: range,
    *,
    order: dict[str, str] | None = None,
    **changes: str,
) -> None:
    """Insert copies of an export, each with a copy of its order; the numbers must be new.

    `order` and `changes`: SQL for the columns that differ; `n` is the number of the copy.
    """
    seed = f"'{pattern.erp_connection_id}' || n"
    order_id = f"md5({seed})::uuid"
    _copy(pattern.draft_order, numbers, id=order_id, **(order or {}))
    filename = (
        f"'sales_order_' || left(md5({seed}), 8)"
        " || '_20260101_000000_' || lpad(to_hex(n), 8, '0') || '.json'"
    )
    names = {"id": "gen_random_uuid()", "draft_order_id": order_id, "filename": filename}
    _copy(pattern, numbers, **names, **changes)


def copy_acks(connection_id: UUID) -> None:
    """Insert an applied ack for each archived copy that is acknowledged."""
    with _loading() as cursor:
        cursor.execute(
            "INSERT INTO erp_ack (org_id, erp_connection_id, export_id, filename, sha256, size,"
            " raw, is_accepted, erp_order_id, findings, reason, seen_at)"
            " SELECT org_id, erp_connection_id, id, 'ack_' || filename, md5(filename), 60,"
            " '{}', true, 'SO-1', 'APPLIED', '', acked_at FROM erp_export"
            " WHERE erp_connection_id = %s AND status = 'ACKED' AND archived_at IS NOT NULL"
            " ON CONFLICT DO NOTHING",
            [connection_id],
        )


def run_maintenance() -> None:
    """Run the maintenance that the database would otherwise do during the measurement."""
    with database.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE draft_order, erp_export, erp_export_event, erp_ack")
        cursor.execute("CHECKPOINT")


@contextmanager
def _loading() -> Iterator[CursorWrapper]:
    with transaction.atomic(), database.cursor() as cursor:
        # Skip the checks of foreign keys: the rows that copies refer to exist.
        cursor.execute("SET LOCAL session_replication_role = replica")
        yield cursor


def _copy(pattern: models.Model, numbers: range, **changes: str) -> None:
    columns = [field.column for field in pattern._meta.concrete_fields if field.column]
    values = ", ".join(changes.get(column, column) for column in columns)
    with _loading() as cursor:
        cursor.execute(
            f"INSERT INTO {pattern._meta.db_table} ({', '.join(columns)}) SELECT {values}"
            f" FROM {pattern._meta.db_table}, generate_series(%s, %s) n WHERE id = %s",
            [numbers.start, numbers.stop - 1, pattern.pk],
        )
