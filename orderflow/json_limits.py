"""The amount of JSON in a body: counted in its bytes, before an object is made of any of it."""

import re
from typing import Final

from rest_framework.exceptions import ParseError

from orderflow.limits import MAX_JSON_DEPTH, MAX_JSON_MEMBERS, MAX_JSON_VALUES, MAX_LINES
from orderflow.problems import Problem

# All up to the next bracket or comma outside of strings: at most a key and a value, and what is
# around them. The quantifiers are possessive: no byte is looked at twice, whatever the body is.
_NEXT: Final = re.compile(rb'(?s)(?:[^"\[\]{},]++|"(?:[^"\\]++|\\.)*+"){0,5}+[\[\]{},]')
_COMMA, _CLOSING = ord(","), frozenset(b"]}")


def check_amount(body: bytes) -> None:
    """Refuse a body that holds more than any document of the API.

    Looks only so far as the body can be JSON: the parser fails there. Raises Problem (413),
    ParseError.
    """
    values = 1
    # Of each container that is open: how many elements it has so far, and may have.
    open_containers: list[list[int]] = []
    end = 0
    while match := _NEXT.match(body, end):
        end = match.end()
        token = body[end - 1]
        if token in _CLOSING:
            if not open_containers:
                return
            open_containers.pop()
            continue
        values += 1
        if values > MAX_JSON_VALUES:
            raise _too_large(f"{MAX_JSON_VALUES:,} values")
        if token != _COMMA:
            if len(open_containers) == MAX_JSON_DEPTH:
                raise ParseError(f"The body is nested deeper than {MAX_JSON_DEPTH} levels.")
            open_containers.append([1, MAX_JSON_MEMBERS if token == ord("{") else MAX_LINES])
        elif open_containers:
            innermost = open_containers[-1]
            innermost[0] += 1
            if innermost[0] > innermost[1]:
                kind = (
                    "fields in an object"
                    if innermost[1] == MAX_JSON_MEMBERS
                    else "elements in an array"
                )
                raise _too_large(f"{innermost[1]:,} {kind}")


def _too_large(most: str) -> Problem:
    return Problem(413, "too_large", f"The body has more than {most}. The API takes no more.")
