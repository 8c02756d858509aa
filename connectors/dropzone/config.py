"""The parser of a dropzone's configuration: values are checked, the result is frozen."""

import difflib
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from connectors.dropzone.config_fields import FIELDS
from connectors.port import ConfigError, ConfigField, Destination
from connectors.secrets import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class DropzoneConfig:
    export_path: str
    ack_path: str | None
    tmp_path: str | None
    atomic_write: bool
    file_mode: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesystemConfig(DropzoneConfig):
    """A mounted folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SftpConfig(DropzoneConfig):
    host: str
    port: int
    username: str
    password: Secret | None
    ssh_key: Secret | None
    key_passphrase: Secret | None
    host_keys: tuple[str, ...]
    connect_timeout: float
    operation_timeout: float


_CLASSES: Final[dict[str, type[DropzoneConfig]]] = {
    "sftp": SftpConfig,
    "filesystem": FilesystemConfig,
}
_HOST_KEY = re.compile(r"(ssh-|ecdsa-sha2-)[a-z0-9-]+ [A-Za-z0-9+/]+={0,2}\Z")


def parse_config(raw: Mapping[str, Any]) -> DropzoneConfig:
    """Return the configuration, defaults filled in. Raises ConfigError naming each wrong field."""
    if not isinstance(raw, Mapping):
        raise ConfigError({"config": "must be a JSON object."})
    mode = raw.get("mode")
    if not isinstance(mode, str) or mode not in _CLASSES:
        raise ConfigError({"mode": "must be “sftp” or “filesystem”."})
    known = {field.name: field for field in FIELDS}
    errors: dict[str, str] = {}
    values: dict[str, Any] = {}
    for name in raw.keys() - known.keys():
        errors[str(name)] = _unknown(str(name), known)
    for field in FIELDS:
        value = raw.get(field.name)
        if not field.applies_to(raw):
            if not _is_empty(value):
                errors[field.name] = f"has no meaning in mode “{mode}”."
        elif _is_empty(value):
            if field.is_required:
                errors[field.name] = "is required."
            values[field.name] = field.default
        else:
            try:
                field.check_length(value)
                values[field.name] = _PARSERS[field.kind](field, value)
            except ValueError as e:
                errors[field.name] = str(e)
    if not errors:
        errors = _contradictions(mode, values)
    if errors:
        raise ConfigError(errors)
    del values["mode"]
    if mode == "sftp":
        values["host_keys"] = values["host_keys"] or ()
    values["file_mode"] = values["file_mode"] and int(values["file_mode"], 8)
    return _CLASSES[mode](**values)


def identity(config: DropzoneConfig) -> dict[str, Any]:
    """The values of the fields that say which dropzone this is."""
    names = {field.name for field in FIELDS if field.is_identity}
    return {
        "mode": "sftp" if isinstance(config, SftpConfig) else "filesystem",
        **{f.name: getattr(config, f.name) for f in fields(config) if f.name in names},
    }


def identity_at(destination: Destination) -> dict[str, Any]:
    """The same values as far as a destination tells them."""
    names = {field.name for field in FIELDS if field.is_identity} | {"mode"}
    at: dict[str, Any] = {n: value for n, value in destination.server.items() if n in names}
    at["export_path"] = destination.folder.path
    if destination.staging_folder:
        at["tmp_path"] = destination.staging_folder.path
    return at


def _contradictions(mode: str, values: Mapping[str, Any]) -> dict[str, str]:
    errors: dict[str, str] = {}
    if mode == "sftp":
        if not values["password"] and not values["ssh_key"]:
            errors["password"] = "is required unless there is an ssh_key."
        if values["key_passphrase"] and not values["ssh_key"]:
            errors["key_passphrase"] = "has no meaning without an ssh_key."
    if values["tmp_path"] and not values["atomic_write"]:
        errors["tmp_path"] = "has no meaning when atomic_write is off."
    if values["tmp_path"] and values["tmp_path"] == values["ack_path"]:
        errors["tmp_path"] = "must not be the ack folder."
    export, ack = values["export_path"], values["ack_path"]
    if ack and export in (posixpath.join(ack, "processed"), posixpath.join(ack, "error")):
        errors["ack_path"] = "its folders processed/ and error/ must not be the export folder."
    return errors


def _unknown(name: str, known: Mapping[str, ConfigField]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"is not a known field{f'; did you mean “{close[0]}”?' if close else '.'}"


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or value == []


def _text(field: ConfigField, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text.")
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise ValueError("must not contain control characters.")
    _refuse_surrogates(value)
    if field.name == "file_mode" and not re.fullmatch(r"0?[0-7]{3}", value):
        raise ValueError("must be three octal digits, like 0640.")
    return value.strip()


def _path(field: ConfigField, value: Any) -> str:
    text = _text(field, value)
    if not text.startswith("/"):
        raise ValueError("must be an absolute path, starting with “/”.")
    if ".." in text.split("/"):
        raise ValueError("must not contain “..”.")
    return "/" + posixpath.normpath(text).lstrip("/")


def _secret(field: ConfigField, value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a text.")
    _refuse_surrogates(value)
    return Secret(value)


def _refuse_surrogates(value: str) -> None:
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError("must be valid Unicode.")


def _number(field: ConfigField, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number.")
    if field.kind == "integer" and not isinstance(value, int):
        raise ValueError("must be a whole number.")
    if not (field.minimum or 0) <= value <= (field.maximum or 0):
        raise ValueError(f"must lie between {field.minimum} and {field.maximum}.")
    return value


def _boolean(field: ConfigField, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false.")
    return value


def _lines(field: ConfigField, value: Any) -> tuple[str, ...]:
    lines = value.splitlines() if isinstance(value, str) else value
    if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines):
        raise ValueError("must be a list of texts.")
    # A comment may follow the key, as in a .pub file.
    keys = tuple(" ".join(line.split()[:2]) for line in lines if line.strip())
    for key in keys:
        if not _HOST_KEY.match(key):
            raise ValueError("must be public keys like “ssh-ed25519 AAAA…”.")
    return keys


_PARSERS: Final = {
    "text": _text,
    "choice": _text,
    "path": _path,
    "secret": _secret,
    "integer": _number,
    "number": _number,
    "boolean": _boolean,
    "lines": _lines,
}
