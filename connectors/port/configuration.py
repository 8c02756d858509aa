"""What a connector declares of its configuration: its fields, and what is wrong with one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


class ConfigError(ValueError):
    """A configuration that cannot be used: `errors` maps each field to a sentence."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in errors.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigField:
    """One field of a connector's configuration, enough to parse it and to draw a form of it.

    `modes`: where it has a meaning; empty, in every one. A connector that has modes declares a
    choice of the name `mode`. `is_identity`: it says which dropzone this is, `is_server`: on which
    server that lies. Secrets do not follow to another server.
    """

    name: str
    kind: Literal["text", "path", "secret", "integer", "number", "boolean", "lines", "choice"]
    label: str
    help: str = ""
    modes: frozenset[str] = frozenset()
    is_required: bool = False
    is_identity: bool = False
    is_server: bool = False
    is_multiline: bool = False
    default: Any = None
    choices: tuple[tuple[str, str], ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    def is_in(self, mode: object) -> bool:
        # Whatever a client gives as the mode, hashable or not.
        return not self.modes or mode in tuple(self.modes)
