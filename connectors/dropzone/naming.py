"""File names of exports: `sales_order_{draft_id_short}_{timestamp}_{uuid_suffix}.json`."""

from datetime import UTC, datetime
from uuid import UUID


def export_filename(order_id: UUID, *, now: datetime, suffix: UUID) -> str:
    """Return the name of an export's file; `suffix` is random and sets names of a second apart."""
    timestamp = now.astimezone(UTC).strftime("%Y%m%d_%H%M%S")
    return f"sales_order_{str(order_id)[:8]}_{timestamp}_{suffix.hex[:8]}.json"


def tmp_filename(filename: str, attempt: str) -> str:
    """Return the name under which one attempt stages a file. ERPs must leave `*.tmp` alone."""
    return f"{filename}.{attempt}.tmp"
