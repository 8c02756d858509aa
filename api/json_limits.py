"""Limits on the JSON of a body, counted in its bytes before any object is made of it."""

import re
from typing import Final

from rest_framework.exceptions import ParseError

from kernel.limits import MAX_JSON_DEPTH, MAX_JSON_MEMBERS, MAX_JSON_VALUES
from kernel.problems import Problem

# All up to the next bracket or comma outside of strings: at most a key and a value, and what is
# around them. The quantifiers are possessive: no byte is looked at twice, whatever the body is.
_NEXT: Final = re.compile(rb'(?s)(?:[^"\[\]{},]++|"(?:[^"\\]++|\\.)*+"){0,5}+[\[\]{},]')
_COMMA, _OBJECT, _CLOSING = ord(","), ord("{"), frozenset(b"]}")


def check_amount(body: bytes) -> None:
    """Refuse a body that holds more than any document of the API.

    Looks only so far as the body can be JSON: the parser fails there. Raises Problem (413),
    ParseError.
    """
    values = 1
    # Of each container that is open: how many fields it has so far, if it is an object.
    fields: list[int | None] = []
    end = 0
    while match := _NEXT.match(body, end):
        end = match.end()
        token = body[end - 1]
        if token in _CLOSING:
            if not fields:
                return
            fields.pop()
            continue
        values += 1
        if values > MAX_JSON_VALUES:
            raise _too_large(f"{MAX_JSON_VALUES:,} values")
        if token != _COMMA:
            if len(fields) == MAX_JSON_DEPTH:
                raise ParseError(f"The body is nested deeper than {MAX_JSON_DEPTH} levels.")
            fields.append(1 if token == _OBJECT else None)
        elif fields and (count := fields[-1]):
            if count == MAX_JSON_MEMBERS:
                raise _too_large(f"{MAX_JSON_MEMBERS:,} fields in an object")
            fields[-1] = count + 1


def _too_large(most: str) -> Problem:
    return Problem(413, "too_large", f"The body has more than {most}. The API takes no more.")
