"""A property that does not hold, for the test of `make explore`."""

from hypothesis import given
from hypothesis import strategies as st


@given(number=st.integers(0, 10**9))
def test_numbers_are_small(number: int) -> None:
    assert number < 1000
