"""Refusals: a person or a service asked for something that the rules of orders forbid."""


class Refused(Exception):
    """Nothing was changed. `code` is stable; `message` says why and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
