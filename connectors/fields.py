"""The model field for encrypted configurations: text in the database, bound to its row."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from django.db.models.expressions import Expression
from fernet_fields import EncryptedTextField

from connectors.errors import ConnectorError


class SealedConfig:
    """A configuration as it is stored. It is decrypted when opened, so one bad row harms no list.

    Source of the format: a Fernet token of {"owner": <row's id>, "config": {...}} as JSON. Fernet
    has no associated data, so the row's id inside the plaintext is what ties it to the row.
    """

    __slots__ = ("_fernet", "ciphertext")

    def __init__(self, ciphertext: str, fernet: Fernet | MultiFernet) -> None:
        self.ciphertext = ciphertext
        self._fernet = fernet

    def __repr__(self) -> str:
        return "SealedConfig(…)"

    def open(self, *, owner: UUID) -> dict[str, Any]:
        """Return the configuration. Raises ConnectorError (CONFIG_UNREADABLE)."""
        try:
            document = json.loads(self.decrypt())
        except ValueError as e:
            raise ConnectorError("CONFIG_UNREADABLE", detail=type(e).__name__) from e
        if document.get("owner") != str(owner):
            raise ConnectorError(
                "CONFIG_UNREADABLE",
                public="The stored configuration belongs to another connection.",
            )
        config: dict[str, Any] = document["config"]
        return config

    def is_same(self, other: "SealedConfig") -> bool:
        """Whether both hold the same, whenever and with whichever key they were encrypted."""
        if self.ciphertext == other.ciphertext:
            return True
        try:
            return self.decrypt() == other.decrypt()
        except ConnectorError:
            return False

    def decrypt(self) -> bytes:
        """Return the plaintext, of whichever row. Raises ConnectorError (CONFIG_UNREADABLE)."""
        try:
            return self._fernet.decrypt(self.ciphertext.encode())
        except InvalidToken as e:
            raise ConnectorError("CONFIG_UNREADABLE", detail=type(e).__name__) from e


class EncryptedConfigField(EncryptedTextField):  # type: ignore[misc]  # untyped library
    """Holds a SealedConfig. Keys come from FERNET_KEYS: the first encrypts, all decrypt."""

    # The library stores bytes; the guide's column is TEXT, and a Fernet token is text.
    _internal_type: ClassVar[str] = "TextField"

    if TYPE_CHECKING:
        # What an attribute of a model holds.
        def __get__(self, instance: Model, owner: type[Model]) -> SealedConfig: ...
        def __set__(self, instance: Model, value: SealedConfig) -> None: ...

    def seal(self, config: Mapping[str, Any], *, owner: UUID) -> SealedConfig:
        """Return a configuration encrypted for one row."""
        plaintext = json.dumps({"owner": str(owner), "config": config})
        return SealedConfig(self.fernet.encrypt(plaintext.encode()).decode(), self.fernet)

    def resealed(self, sealed: SealedConfig) -> SealedConfig | None:
        """Return it encrypted with the first key; None if it is that already.

        Raises ConnectorError (CONFIG_UNREADABLE) if no key opens it.
        """
        first = Fernet(self.fernet_keys[0])
        with suppress(InvalidToken):
            first.decrypt(sealed.ciphertext.encode())
            return None
        return SealedConfig(first.encrypt(sealed.decrypt()).decode(), self.fernet)

    def to_python(self, value: Any) -> Any:
        return SealedConfig(value, self.fernet) if isinstance(value, str) else value

    def from_db_value(
        self, value: str | None, expression: Expression, connection: BaseDatabaseWrapper
    ) -> SealedConfig | None:
        return None if value is None else SealedConfig(value, self.fernet)

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        if value is None or hasattr(value, "as_sql"):
            return value
        if not isinstance(value, SealedConfig):
            raise TypeError("Only a SealedConfig can be stored: seal the configuration first.")
        return value.ciphertext

    def value_to_string(self, obj: Model) -> str:
        sealed: SealedConfig = self.value_from_object(obj)
        return sealed.ciphertext
