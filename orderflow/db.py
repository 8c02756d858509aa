"""The database's clock, UUIDs and broken-off transactions, alike for PostgreSQL and SQLite."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from django.db import OperationalError, connection, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.compiler import SQLCompiler

P = ParamSpec("P")
T = TypeVar("T")

_BROKEN_OFF = {"40001", "40P01"}  # serialization_failure, deadlock_detected
_TRIES = 3


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


def retried(service: Callable[P, T]) -> Callable[P, T]:
    """Repeat a transaction that the database broke off so that another one could go on.

    For functions that touch nothing but the database. Within a transaction nothing is repeated
    here: that is up to whoever began it.
    """

    @wraps(service)
    def persistent(*args: P.args, **kwargs: P.kwargs) -> T:
        left = 1 if connection.in_atomic_block else _TRIES
        while True:
            left -= 1
            try:
                return service(*args, **kwargs)
            except OperationalError as e:
                if not left or getattr(e.__cause__, "sqlstate", None) not in _BROKEN_OFF:
                    raise

    return persistent
