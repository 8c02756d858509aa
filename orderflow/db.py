"""The database's clock and UUIDs, written alike for PostgreSQL and SQLite."""

from datetime import UTC, datetime
from typing import Any

from django.db import connection, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.compiler import SQLCompiler


class Now(models.Func):
    """NOW(): the start of the current transaction, by the database's clock."""

    template = "NOW()"
    output_field = models.DateTimeField()

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, Any]:
        template = "STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', 'NOW')"
        return self.as_sql(compiler, connection, template=template, **context)


class RandomUUID(models.Func):
    """gen_random_uuid(), or as random a value where the database has no such function."""

    template = "GEN_RANDOM_UUID()"
    output_field = models.UUIDField()

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, Any]:
        return self.as_sql(compiler, connection, template="LOWER(HEX(RANDOMBLOB(16)))", **context)


def db_now() -> datetime:
    """The time on the database's clock: the one clock that workers on several machines share."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT CLOCK_TIMESTAMP()")
            now: datetime = cursor.fetchone()[0]
            return now
    # SQLite lives in this process: its clock is ours, only coarser.
    return datetime.now(UTC)
