"""Long iterations are cut into lists of bounded length."""

from itertools import count

from kernel.batching import batched


def test_nothing_is_lost_and_nothing_is_longer() -> None:
    assert list(batched(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batched(range(6), 3)) == [[0, 1, 2], [3, 4, 5]]
    assert list(batched([], 3)) == []


def test_it_takes_no_more_than_it_gives() -> None:
    numbers = count()
    assert next(batched(numbers, 3)) == [0, 1, 2]
    assert next(numbers) == 3
