"""The database: its clock, UUIDs, timeouts and repeated transactions, on PostgreSQL and SQLite."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from django.db import OperationalError, connection, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.compiler import SQLCompiler

P = ParamSpec("P")
T = TypeVar("T")

_BROKEN_OFF = {"40001", "40P01"}  # serialization_failure, deadlock_detected
_TIMEOUT = "57014"  # query_canceled
_TRIES = 3
_LAG_SECONDS = 2
_LONGEST_TRANSACTION_SECONDS = 120


class Now(models.Func):
    """NOW(): the start of the current transaction, by the database's clock."""

    template = "NOW()"
    output_field = models.DateTimeField()

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, Any]:
        # Times are compared as texts there: to the letter as Django writes the same time.
        text = "STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f000', 'NOW')"
        template = f"REPLACE({text}, '.000000', '')"
        return self.as_sql(compiler, connection, template=template, **context)


class RandomUUID(models.Func):
    """gen_random_uuid(), or as random a value where the database has no such function."""

    template = "GEN_RANDOM_UUID()"
    output_field = models.UUIDField()

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, Any]:
        return self.as_sql(compiler, connection, template="LOWER(HEX(RANDOMBLOB(16)))", **context)


class DatabaseIdentity(models.Func):
    """Which database this is: a restored dump is another one. SQLite cannot tell."""

    template = (
        "(SELECT system_identifier || '/' || oid FROM PG_CONTROL_SYSTEM(), pg_database"
        " WHERE datname = CURRENT_DATABASE())"
    )
    output_field = models.TextField()

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, Any]:
        return self.as_sql(compiler, connection, template="'SQLite'", **context)


def db_now() -> datetime:
    """The time on the database's clock: the one clock that workers on several machines share."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT CLOCK_TIMESTAMP()")
            now: datetime = cursor.fetchone()[0]
            return now
    # SQLite lives in this process: its clock is ours, only coarser.
    return datetime.now(UTC)


def committed_before() -> datetime:
    """A time before which nothing new appears: all rows written by NOW() before it are visible.

    NOW() is the start of a transaction, so a row can become visible long after its time. The
    result is before the start of every transaction that this role sees running. A transaction that
    runs for longer than a task may take is not waited for.
    """
    if connection.vendor != "postgresql":
        return db_now() - timedelta(seconds=_LAG_SECONDS)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT GREATEST(CLOCK_TIMESTAMP() - MAKE_INTERVAL(secs => %s),"
            " LEAST(CLOCK_TIMESTAMP() - MAKE_INTERVAL(secs => %s), MIN(xact_start)))"
            " FROM pg_stat_activity"
            " WHERE datname = CURRENT_DATABASE() AND pid <> PG_BACKEND_PID()"
            # The database's own, such as autovacuum, write no rows of ours.
            " AND backend_type = 'client backend'",
            [_LONGEST_TRANSACTION_SECONDS, _LAG_SECONDS],
        )
        settled: datetime = cursor.fetchone()[0]
        return settled


def retried(service: Callable[P, T]) -> Callable[P, T]:
    """Repeat a transaction that the database broke off so that another one could go on.

    For functions that touch nothing but the database. Within a transaction nothing is repeated
    here: the caller that began it decides.
    """

    @wraps(service)
    def persistent(*args: P.args, **kwargs: P.kwargs) -> T:
        left = 1 if connection.in_atomic_block else _TRIES
        while True:
            left -= 1
            try:
                return service(*args, **kwargs)
            except OperationalError as e:
                if not left or _sqlstate(e) not in _BROKEN_OFF:
                    raise

    return persistent


def is_timeout(error: Exception) -> bool:
    """Whether the database has stopped a statement that took longer than its role may."""
    return isinstance(error, OperationalError) and _sqlstate(error) == _TIMEOUT


def _sqlstate(error: Exception) -> str | None:
    return getattr(error.__cause__, "sqlstate", None)
