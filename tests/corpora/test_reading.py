"""Reading many files: the first that fails is raised, or all that fail are named together."""

import pytest

from bundle.errors import InputError
from corpora.reading import complain, read_each


def read_even(number):
    if number % 2:
        raise InputError(f"{number} is odd")
    return number // 2


def test_results_come_in_order():
    assert read_each("number", [0, 4, 2], read_even) == [0, 2, 1]
    assert read_each("number", [], read_even) == []


def test_the_first_failure_is_raised():
    with pytest.raises(InputError, match="3 is odd"):
        read_each("number", [2, 3, 5], read_even)


def test_failures_are_counted_and_named_and_the_rest_is_kept():
    with pytest.warns(UserWarning, match="2 of 4 number files cannot be read, left out: 3 is odd; 5 is odd"):
        assert read_each("number", [2, 3, 5, 4], read_even, "skip") == [1, 2]


def test_other_errors_are_not_hidden():
    with pytest.raises(TypeError):
        read_each("number", ["two"], read_even, "skip")


def test_a_long_list_of_names_is_cut():
    with pytest.raises(InputError, match=r"^30 strange: 0; 1; .*; 19; and 10 more\. Fetch"):
        complain("30 strange", [str(number) for number in range(30)], "refuse")
