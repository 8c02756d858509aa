"""The one error that crosses the port."""

import uuid

from .catalogue import CATALOGUE, ErrorSpec, Kind, Owner

__all__ = ["CATALOGUE", "ConnectorError", "ErrorSpec", "Kind", "Owner"]


class ConnectorError(Exception):
    """The one error that crosses the port.

    `code` is a key of CATALOGUE. `public` replaces the catalogue's message where more can be said
    to a person. `detail` is for the log alone; the correlation id leads from one to the other.
    """

    def __init__(self, code: str, *, public: str | None = None, detail: str = "") -> None:
        self.spec = CATALOGUE[code]
        self.code = code
        self.message = public or self.spec.message
        self.detail = detail
        self.correlation_id = uuid.uuid4().hex[:12]
        super().__init__(f"{code}: {self.message}")

    @property
    def kind(self) -> Kind:
        return self.spec.kind

    def as_json(self) -> dict[str, str]:
        """What people and the API may see of it."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.spec.action,
            "owner": self.spec.owner.value,
            "correlation_id": self.correlation_id,
        }

    @property
    def log_line(self) -> str:
        """What the log has to say of it."""
        return f"{self.code} [{self.correlation_id}] {self.detail}".rstrip()
