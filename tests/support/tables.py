"""The content of the database, to be compared before and after, or searched."""

from collections.abc import Iterator

from django.db import connection

# Without sessions, because every request may renew one.
_UNWATCHED = {"django_session"}


def tables() -> dict[str, tuple[int, str]]:
    """How many rows each table has, and a checksum of their content. PostgreSQL only."""
    with connection.cursor() as cursor:
        content = {}
        for name in sorted(set(connection.introspection.table_names(cursor)) - _UNWATCHED):
            cursor.execute(
                f"SELECT count(*), md5(string_agg(t::text, '' ORDER BY t::text)) "
                f'FROM "{name}" AS t'
            )
            content[name] = cursor.fetchone()
    return content


def values() -> Iterator[tuple[str, bytes]]:
    """Every value in the database, after the table that has it."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            for row in cursor.fetchall():
                for value in row:
                    is_raw = isinstance(value, memoryview | bytes)
                    yield table, bytes(value) if is_raw else str(value).encode()
