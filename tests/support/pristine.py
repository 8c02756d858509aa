"""Make the database after a test that commits what it was after the migrations, fast.

Django's `flush` truncates every table and then makes all permissions and schedules anew; it loses
what data migrations have made, the groups. Here only tables with other rows change.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction
from django.test import TransactionTestCase


class Pristine:
    """The tables of a migrated database and their rows."""

    def __init__(self) -> None:
        with connection.cursor() as cursor:
            self._tables = {
                table: [
                    column.name
                    for column in connection.introspection.get_table_description(cursor, table)
                ]
                for table in connection.introspection.django_table_names(only_existing=True)
                if table != "django_migrations"
            }
            self._rows = {
                table: rows for table in self._tables if (rows := self._all(cursor, table))
            }

    def restore(self) -> None:
        """Bring back these rows and delete all others."""
        with _without_triggers(list(self._tables)), connection.cursor() as cursor:
            for table in self._changed(cursor):
                cursor.execute(f"DELETE FROM {_quoted(table)}")
                if rows := self._rows.get(table):
                    columns = self._tables[table]
                    cursor.executemany(
                        f"INSERT INTO {_quoted(table)} ({', '.join(map(_quoted, columns))})"
                        f" VALUES ({', '.join(['%s'] * len(columns))})",
                        rows,
                    )

    def _changed(self, cursor: Any) -> list[str]:
        empty = [table for table in self._tables if table not in self._rows]
        cursor.execute(
            " UNION ALL ".join(
                f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {_quoted(table)})" for table in empty
            )
        )
        filled = [table for (table,) in cursor.fetchall()]
        return filled + [
            table for table, rows in self._rows.items() if self._all(cursor, table) != rows
        ]

    def _all(self, cursor: Any, table: str) -> Sequence[tuple[Any, ...]]:
        columns = ", ".join(map(_quoted, self._tables[table]))
        cursor.execute(f"SELECT {columns} FROM {_quoted(table)} ORDER BY 1")
        rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
        return rows


@contextmanager
def _without_triggers(tables: list[str]) -> Iterator[None]:
    """A transaction without checks of foreign keys, which may delete entries of the audit log."""
    if connection.vendor == "postgresql":
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            # Wait for what a process that the test has killed still writes.
            cursor.execute(f"LOCK TABLE {', '.join(map(_quoted, tables))} IN EXCLUSIVE MODE")
            yield
        return
    with (
        connection.constraint_checks_disabled(),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        triggers = cursor.fetchall()
        for name, _ in triggers:
            cursor.execute(f"DROP TRIGGER {_quoted(name)}")
        yield
        for _, sql in triggers:
            cursor.execute(sql)


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)


def restore_after_tests(pristine: Pristine) -> None:
    """Let TransactionTestCase restore the database instead of flushing it."""

    def restore(case: TransactionTestCase) -> None:
        pristine.restore()

    TransactionTestCase._fixture_teardown = restore  # type: ignore[attr-defined]
