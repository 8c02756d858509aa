"""Services for the configuration of connections: create, change, show with secrets masked."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from textwrap import shorten
from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

from django.db import transaction

from accounts import audit, history
from accounts.audit import Action
from accounts.models import Org, User
from connectors import circuit_breaker, signals
from connectors.errors import ConnectorError
from connectors.models import ErpConnection
from connectors.port import ConfigError, Destination, HostKey
from connectors.secrets import MASK
from kernel.db import Now, db_now

# Characters of a value, in the history.
_SHOWN: Final = 80


class Settings(TypedDict, total=False):
    """What is set of a connection beside its configuration, of which the connector knows nothing.

    `ack_deadline` is how long the ERP may take to answer; None: for ever.
    """

    active: bool
    ack_deadline: timedelta | None


def create_connection(
    org: Org,
    *,
    connector_type: str,
    config: Mapping[str, Any],
    actor: User | None = None,
    **settings: Unpack[Settings],
) -> ErpConnection:
    """Return a new connection; it is paused until its test passes.

    Raises ConfigError, and IntegrityError if the org has one of this type.
    """
    connection = ErpConnection(org=org, connector_type=connector_type, **settings)
    parsed = connection.connector.parse_config(config)
    kept = _without_empty(config)
    connection.seal(kept)
    connection.secrets_set = _note_secrets(connection, {}, kept, parsed, actor)
    with transaction.atomic():
        connection.save(force_insert=True)
        audit.record(
            Action.CONNECTION_CREATED,
            connection,
            actor=actor,
            after={**settings, **_masked(connection, kept)},
        )
    connection.refresh_from_db()
    return connection


def change_config(
    connection: ErpConnection,
    config: Mapping[str, Any],
    *,
    actor: User | None = None,
    clear: Collection[str] = (),
    holders: Mapping[str, Destination] | None = None,
    action: Action = Action.CONNECTION_CONFIGURED,
) -> None:
    """Replace the configuration. Raises ConfigError; then nothing is changed.

    A secret that is left out, empty or masked stays as it is, unless its name is in `clear`. It
    does not follow to another server: there it must be entered again. `holders` are the names of
    exports that are staged, and where: while there are any, the dropzone must stay that one.
    """
    connector = connection.connector
    with transaction.atomic():
        row = ErpConnection.objects.select_for_update().get(id=connection.id)
        old, old_identity = {}, {}
        with suppress(ConnectorError, ConfigError):
            # What is unreadable has no secrets to keep, what is invalid no identity to compare.
            old = row.config
            old_identity = dict(connector.identity(connector.parse_config(old)))
        new = _without_empty(config)
        missing = [n for n in connector.secret_fields if n in old and n not in new]
        kept = {name: old[name] for name in missing if name not in clear}
        moved = [
            field.name
            for field in connector.config_form
            if field.is_server
            and old.get(field.name, field.default) != new.get(field.name, field.default)
        ]
        if kept and moved:
            reason = f"must be entered again because {', '.join(moved)} changed."
            raise ConfigError(dict.fromkeys(sorted(kept), reason))
        new.update(kept)
        parsed = connector.parse_config(new)
        new_identity = dict(connector.identity(parsed))
        changed = [n for n, value in new_identity.items() if old_identity.get(n) != value]
        held = old_identity
        if holders and not held:
            # They hold it fast even if the old configuration is unreadable.
            held = dict(connector.identity_at(next(iter(holders.values()))))
        if holders and (
            leaving := [n for n, value in held.items() if new_identity.get(n) != value]
        ):
            reason = (
                "cannot be changed while exports are staged there: "
                f"{', '.join(holders)}. Let them finish first, or resolve them manually."
            )
            raise ConfigError(dict.fromkeys(leaving, reason))
        row.seal(new)
        row.secrets_set = _note_secrets(row, old, new, parsed, actor)
        row.updated_at = Now()
        row.save(update_fields=["config_encrypted", "secrets_set", "updated_at"])
        if actor and (told := "; ".join(_differences(row, old, new))):
            history.note(row, f"{told}.", actor=actor)
        if changed:
            circuit_breaker.require_test(row.id)
        before, after = (_masked(row, values) for values in audit.differences(old, new))
        if before or after:
            audit.record(action, row, actor=actor, before=before, after=after)
        connection.refresh_from_db()
        if connection.is_paused and not row.is_paused:
            signals.paused.send(ErpConnection, connection=connection)


def change_settings(connection_id: UUID, *, actor: User, **settings: Unpack[Settings]) -> None:
    """Set what is set of a connection beside its configuration."""
    if foreign := settings.keys() - Settings.__annotations__:
        raise TypeError(f"These are not set by people: {', '.join(sorted(foreign))}")
    with transaction.atomic():
        row = ErpConnection.objects.select_for_update(no_key=True).get(id=connection_id)
        ErpConnection.objects.filter(id=row.id).update(**settings, updated_at=Now())
        before, after = audit.differences({name: getattr(row, name) for name in settings}, settings)
        if before:
            audit.record(Action.CONNECTION_CHANGED, row, actor=actor, before=before, after=after)


def merged_config(
    connection: ErpConnection, changes: Mapping[str, Any]
) -> tuple[dict[str, Any], set[str]]:
    """Return what `change_config` takes for changing some fields: configuration and cleared names.

    A null clears its field. What the mode does not know goes with the former mode.
    """
    stored = {}
    with suppress(ConnectorError):
        stored = masked_config(connection)
    merged = stored | dict(changes)
    foreign = {
        field.name for field in connection.connector.config_form if not field.applies_to(merged)
    }
    config = {n: v for n, v in merged.items() if n in changes or n not in foreign}
    secrets = connection.connector.secret_fields
    cleared = {n for n in secrets if n in foreign or merged.get(n, MASK) in (None, "")}
    return config, cleared


def pin_host_key(connection: ErpConnection, host_key: str, *, actor: User | None = None) -> None:
    """Trust a server's key, as seen in a connection test, instead of those trusted so far."""
    fields = [f.name for f in connection.connector.config_form if f.holds_host_keys]
    config = masked_config(connection) | {name: [host_key] for name in fields}
    change_config(connection, config, actor=actor, action=Action.HOST_KEY_PINNED)


def pinned_host_keys(connection: ErpConnection) -> list[HostKey]:
    """The host keys that a connection trusts. Raises ConnectorError."""
    config = connection.config
    fields = [f.name for f in connection.connector.config_form if f.holds_host_keys]
    stored = [config.get(name) or [] for name in fields]
    lines = [x.splitlines() if isinstance(x, str) else x for x in stored]
    return [HostKey.parse(line) for some in lines for line in some if line.strip()]


def leads_to(connection: ErpConnection, destination: Destination) -> bool:
    """Whether a connection leads, as configured now, to where a file was once put.

    Raises ConnectorError.
    """
    connector = connection.connector
    identity = connector.identity(connection.parse_config())
    there = connector.identity_at(destination)
    return all(identity.get(name) == value for name, value in there.items())


def masked_config(connection: ErpConnection) -> dict[str, Any]:
    """The configuration as people and the API may see it. Raises ConnectorError."""
    return _masked(connection, connection.config)


def _masked(connection: ErpConnection, config: Mapping[str, Any]) -> dict[str, Any]:
    secrets = connection.connector.secret_fields
    return {name: MASK if name in secrets else value for name, value in config.items()}


def _differences(
    connection: ErpConnection, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[str]:
    """What was changed in a configuration; of secrets only that they were."""
    for field in connection.connector.config_form:
        before, after = (config.get(field.name, field.default) for config in (old, new))
        if before == after:
            continue
        if field.kind == "secret":
            done = "removed" if after is None else "set" if before is None else "replaced"
            yield f"{field.label}: {done}"
        else:
            yield f"{field.label}: {_told(before)} → {_told(after)}"


def _told(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "not set", True: "yes", False: "no"}[value]
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return shorten(text, _SHOWN, placeholder=" …") or text[:_SHOWN]


def _note_secrets(
    connection: ErpConnection,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    parsed: Any,
    actor: User | None,
) -> dict[str, Any]:
    """Who set which secret when: noted anew for those that differ."""
    connector, noted = connection.connector, connection.secrets_set
    about = connector.describe_secrets(parsed)
    fresh = {"at": db_now().isoformat(), "by": actor.contact if actor else None}
    return {
        name: noted[name]
        if name in noted and new[name] == old.get(name)
        else {**fresh, "about": about.get(name, "")}
        for name in connector.secret_fields & new.keys()
    }


def _without_empty(config: Mapping[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in config.items() if v not in (None, "", [], MASK)}
