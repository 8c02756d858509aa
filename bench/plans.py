"""The indexes that the database uses for the queries of the ledger."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from django.db import connection as database

_PAGE = Path("var/query-plans.md")
_PREFACE = """\
# How the database finds things

Each query of what a service does all day that asks one of the tables which grow, with the plan of PostgreSQL beside {exports:,}
exports. Most columns and the values are left out. Written by `PLANS=1 ONLY=scale make bench`; docs/performance.md has the times.
"""  # noqa: E501

# The tables that grow with every export.
TABLES = "draft_order", "draft_order_line", "erp_export", "erp_export_event", "erp_ack"
_ANY = "|".join(TABLES)
_ASKS_LARGE = re.compile(f'"(?:{_ANY})"')
_WHOLE = re.compile(rf"Seq Scan on ({_ANY})\b")
_INDEX = re.compile(r"Index (?:Only )?Scan(?: Backward)? using (\w+)|Bitmap Index Scan on (\w+)")

_VALUE = re.compile(r"'((?:[^']|'')*)'(?:::[\w\[\]]+)?")
# Keep status values, because they show why a partial index is used.
_STATE = re.compile(r"[A-Z_]+")
_VALUES = re.compile(r"\?(?:, \?){2,}")
_CASES = re.compile(r"(?:WHEN \([^()]*\) THEN \? )+")
_COLUMNS = re.compile(r'(?:"\w+"\."\w+"(?: AS "\w+")?(?:, | )){4,}')


def found_by(queries: Iterable[str]) -> dict[str, list[str]]:
    """Return the indexes that the queries use; `whole`: the tables that they read completely.

    Tables that stay small are left out.
    """
    plans = [_plan(query) for query in _planned(queries)]
    indexes = {name for plan in plans for names in _INDEX.findall(plan) for name in names if name}
    whole = {table for plan in plans for table in _WHOLE.findall(plan)}
    return {"indexes": sorted(n for n in indexes if n.startswith("idx_")), "whole": sorted(whole)}


def write_page(queries: Mapping[str, Iterable[str]], *, exports: int) -> None:
    """Write the page of plans; `queries`: by their purpose."""
    _PAGE.parent.mkdir(exist_ok=True)
    with _PAGE.open("w") as page:
        page.write(_PREFACE.format(exports=exports))
        for purpose, asked in queries.items():
            page.write(f"\n## {purpose[0].upper()}{purpose[1:]}\n")
            # Queries that differ only in values have the same plan.
            plans = {_shape(q): _shape(_plan(q)) for q in _planned(asked) if _ASKS_LARGE.search(q)}
            for query, plan in plans.items():
                page.write(f"\n```sql\n{query}\n\n{plan}\n```\n")


def _planned(queries: Iterable[str]) -> Iterable[str]:
    return (query for query in queries if query.startswith(("SELECT", "UPDATE")))


def _plan(query: str) -> str:
    with database.cursor() as cursor:
        cursor.execute(f"EXPLAIN (COSTS OFF) {query}")
        return "\n".join(row[0] for row in cursor.fetchall())


def _shape(text: str) -> str:
    text = _VALUE.sub(lambda value: value[0] if _STATE.fullmatch(value[1]) else "?", text)
    return _COLUMNS.sub("… ", _CASES.sub("WHEN … ", _VALUES.sub("?, …", text)))
