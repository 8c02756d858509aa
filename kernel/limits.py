"""Limits on what one request may hold. Each follows from the largest order."""

from typing import Final

# Of an order that the API takes; as many orders can be named in a batch.
MAX_LINES: Final = 10_000

# With every field at its full length a line has up to 1,600 bytes of JSON.
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
# A line is an object of 8 values. The rest of an order has fewer than 1,000. Other documents have
# fewer than 1,000 in all, and a batch up to 10,000 ids.
MAX_JSON_VALUES: Final = MAX_LINES * 9 + 1_000
# No document declares half as many members in an object, or half as many levels.
MAX_JSON_MEMBERS: Final = 100
MAX_JSON_DEPTH: Final = 10
MAX_JSON_KEY_LENGTH: Final = 200

# Of an answer that says what is wrong with a request.
MAX_ERRORS: Final = 100
MAX_ERROR_LENGTH: Final = 1_000

# Of an order in the admin's form. Each line sends 8 fields, its id, its order and perhaps the
# box that deletes it.
MAX_FORM_LINES: Final = 1_000
MAX_FORM_FIELDS: Final = MAX_FORM_LINES * 11 + 1_000
