"""System checks of the project: settings that are dangerous together are found at start."""

from collections.abc import Sequence
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections

_MINIMUM_KEY_LENGTH: Final = 50
_MINIMUM_DIFFERENT_CHARACTERS: Final = 5
_LOCAL_HOSTS: Final = frozenset({"localhost", ".localhost", "127.0.0.1", "[::1]"})


@register(Tags.security)
def check_secret_key(**kwargs: Any) -> list[CheckMessage]:
    key = settings.SECRET_KEY
    if len(key) >= _MINIMUM_KEY_LENGTH and len(set(key)) >= _MINIMUM_DIFFERENT_CHARACTERS:
        return []
    return [
        Error(
            f"SECRET_KEY has less than {_MINIMUM_KEY_LENGTH} characters, or few different ones: "
            "whoever guesses it can sign in as anybody.",
            hint='Make one with: python -c "import secrets; print(secrets.token_urlsafe(50))"',
            id="orderflow.E001",
        )
    ]


@register(Tags.security)
def check_debug(**kwargs: Any) -> list[CheckMessage]:
    hosts = [host for host in settings.ALLOWED_HOSTS if host not in _LOCAL_HOSTS]
    if not settings.DEBUG or not hosts:
        return []
    return [
        Error(
            f"DEBUG is on, but ALLOWED_HOSTS has {', '.join(hosts)}: error pages would show the "
            "code and its values to others, and passwords would travel in the clear.",
            hint="Turn DEBUG off, or allow only localhost.",
            id="orderflow.E002",
        )
    ]


@register(Tags.caches)
def check_cache(**kwargs: Any) -> list[CheckMessage]:
    backend = settings.CACHES["default"]["BACKEND"]
    if settings.DEBUG or not backend.endswith(".LocMemCache"):
        return []
    return [
        Warning(
            "The cache lies in the memory of each process: what one puts there, no other sees.",
            hint="Leave CACHE_URL away, or name a cache that all processes share.",
            id="orderflow.W001",
        )
    ]


_WEB_ROLE: Final = (
    "Give the web server a role of its own: run deploy/postgres/web-role.sql and set its "
    "DATABASE_URL."
)
# The owner of the tables is the worker's role. Without tables there is no row yet.
_SEES_ALL_TRANSACTIONS: Final = """
    SELECT PG_HAS_ROLE(CURRENT_USER, 'pg_read_all_stats', 'USAGE')
        OR PG_GET_USERBYID(relowner) = CURRENT_USER
    FROM pg_class WHERE oid = TO_REGCLASS('draft_order')
"""


# Of the web server alone: `check --deploy --database default` is what runs before it starts.
@register(Tags.database, deploy=True)
def check_database_role(
    databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    warnings: list[CheckMessage] = []
    for alias in databases or []:
        connection = connections[alias]
        if connection.vendor != "postgresql":
            continue
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            if cursor.fetchone()[0] == "0":
                warnings.append(
                    Warning(
                        "The database role of the web server has no statement_timeout: one slow "
                        "page can keep the database and a thread busy without limit.",
                        hint=_WEB_ROLE,
                        id="orderflow.W002",
                    )
                )
            cursor.execute(_SEES_ALL_TRANSACTIONS)
            if (row := cursor.fetchone()) and not row[0]:
                warnings.append(
                    Warning(
                        "The database role of the web server does not see when the worker's "
                        "transactions began: clients that ask for changes by updated_since can "
                        "miss some.",
                        hint=_WEB_ROLE,
                        id="orderflow.W003",
                    )
                )
    return warnings
