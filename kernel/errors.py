"""The error of a service when its rules do not allow what a person or program asks for."""

from uuid import UUID


class RuleViolation(Exception):
    """Nothing was changed. `code` is stable; `message` says why and what to do.

    `extra` holds what a client may need besides, such as the id of what stands in the way.
    """

    def __init__(self, code: str, message: str, **extra: UUID | int | None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.extra = extra
