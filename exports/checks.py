"""System checks of the ledger: settings that would send a file twice or open figures to all."""

from collections.abc import Sequence
from math import ceil
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections

_TOKEN_LENGTH = 32


@register()
def check_queue(**kwargs: Any) -> list[CheckMessage]:
    queue = settings.Q_CLUSTER
    rounds = ceil((queue["queue_limit"] + 1) / queue["workers"]) + 1
    least = rounds * (queue["timeout"] + 3)
    if queue["retry"] <= least:
        return [
            Error(
                f"Q_CLUSTER retry is {queue['retry']} s, "
                f"but a task may wait and run for {least} s.",
                hint="Raise retry, or lower timeout or queue_limit.",
                id="exports.E001",
            )
        ]
    return []


@register(Tags.security)
def check_metrics_token(**kwargs: Any) -> list[CheckMessage]:
    if 0 < len(settings.METRICS_TOKEN) < _TOKEN_LENGTH:
        return [
            Error(
                f"METRICS_TOKEN has less than {_TOKEN_LENGTH} characters: it could be guessed.",
                hint="Take 32 random bytes, for instance what `openssl rand -hex 32` prints.",
                id="exports.E003",
            )
        ]
    return []


@register(Tags.database)
def check_synchronous_commit(
    databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    errors: list[CheckMessage] = []
    for alias in databases or []:
        connection = connections[alias]
        if connection.vendor != "postgresql":
            continue
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            if cursor.fetchone()[0] == "off":
                errors.append(
                    Error(
                        "PostgreSQL runs with synchronous_commit = off: after a power loss it may "
                        "forget that a file was sent, and the order would be sent twice.",
                        hint="Set synchronous_commit = on for this database.",
                        id="exports.E002",
                    )
                )
    return errors
