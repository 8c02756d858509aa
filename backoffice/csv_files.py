"""CSV files for spreadsheets, made in pieces. No text becomes a formula."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from io import StringIO
from typing import Final

# Tells Excel that the file is UTF-8.
_BOM: Final = "\ufeff"
# A spreadsheet takes a text that begins with one of these for a formula.
_OF_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_ROWS_AT_ONCE: Final = 500


def csv_file(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The text of a file, in pieces. Rows hold texts, numbers, dates and None."""
    piece = StringIO(newline="")
    writer = csv.writer(piece)
    piece.write(_BOM)
    for number, row in enumerate(rows, 1):
        writer.writerow([_cell(value) for value in row])
        if number % _ROWS_AT_ONCE == 0:
            yield piece.getvalue()
            piece.seek(0)
            piece.truncate()
    yield piece.getvalue()


def _cell(value: object) -> object:
    match value:
        case str() if value.startswith(_OF_FORMULAS):
            return f"'{value}"
        case date():
            return value.isoformat()
        case Decimal():
            digits = f"{value:f}"
            return digits.rstrip("0").rstrip(".") if "." in digits else digits
    return value
