"""The declaration of a configuration: a connector's fields, and errors by field."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

# The field by which a connector that has modes is told which one is meant: a choice.
MODE: Final = "mode"


# By the kind of a field: the limit of characters, and what is said beyond it.
_LENGTHS: Final = {
    "text": (255, "is too long"),
    "path": (4_096, "is too long for a path"),
    "secret": (32_768, "is too long for a key or a password"),
    "lines": (32_768, "is too long"),
}


class ConfigError(ValueError):
    """A configuration that cannot be used: `errors` maps each field to a sentence."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in errors.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigField:
    """One field of a connector's configuration, enough to parse it and to draw a form of it.

    `modes`: where it has a meaning; empty, in every one. `is_identity`: it says which dropzone this
    is, `is_server`: on which server that is. Secrets do not follow to another server.
    `holds_host_keys`: it lists the host keys of servers that are trusted, as lines of text.
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
    holds_host_keys: bool = False
    default: Any = None
    choices: tuple[tuple[str, str], ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    def applies_to(self, config: Mapping[str, Any]) -> bool:
        """Whether the field has a meaning in the mode of a configuration, checked or not."""
        # A client may give anything as the mode, hashable or not.
        return not self.modes or config.get(MODE) in tuple(self.modes)

    def check_length(self, value: Any) -> None:
        """Raise ValueError, with a sentence, for a text or a list of texts that is too long."""
        if self.kind not in _LENGTHS:
            return
        limit, reason = _LENGTHS[self.kind]
        texts = value if isinstance(value, list | tuple) else [value]
        length = len(texts) - 1 + sum(len(text) for text in texts if isinstance(text, str))
        if length > limit:
            raise ValueError(f"{reason}: the limit is {limit:,} characters.")
