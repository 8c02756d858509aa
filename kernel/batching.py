"""Batches: items that come one by one, in lists of bounded length."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Up to `size` items at a time, in order, as itertools.batched of Python 3.12 gives them."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
