"""The JSON of a request, taken at its word: numbers keep every digit, no key comes twice."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn

from rest_framework import exceptions
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from api.json_limits import check_amount
from kernel.limits import MAX_JSON_KEY_LENGTH
from kernel.problems import Problem


class ExactJSONParser(BaseParser):
    """JSON taken at its word: numbers keep every digit, and no key may come twice."""

    media_type = "application/json"

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        request: Request = (parser_context or {})["request"]
        if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise Problem(
                415, "unsupported_media_type", "The body is compressed. Send it as plain JSON."
            )
        body: bytes = stream.read()
        check_amount(body)
        try:
            said = json.loads(
                body.decode("utf-8-sig"),
                parse_float=Decimal,
                parse_constant=_refuse,
                object_pairs_hook=_unique_keys,
            )
            if rb"\u" in body:
                # Half of a surrogate pair could be neither stored nor repeated in an answer.
                json.dumps(said, ensure_ascii=False, default=str).encode()
        except (ValueError, ArithmeticError, RecursionError) as e:
            raise exceptions.ParseError(f"The body is not valid JSON: {e}") from e
        return said


def document(request: Request) -> Any:
    """The JSON document that a request carries.

    Raises ParseError if the body is empty: more likely it was lost than meant.
    """
    if request.stream is None:
        raise exceptions.ParseError("The request has no body. Send a JSON document.")
    return request.data


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("an object has the same key twice")
    if any(len(key) > MAX_JSON_KEY_LENGTH for key in unique):
        raise ValueError(f"a key has more than {MAX_JSON_KEY_LENGTH} characters")
    return unique
