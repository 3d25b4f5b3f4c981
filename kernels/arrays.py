"""What every kernel asks of its input."""

import numpy as np

_ARRAY = np.ndarray | np.generic  # made once: a union takes longer to make than to look through
_WHOLE = int | np.integer


def check_array(array: object, name: str) -> None:
    """Raise ValueError for what is not NumPy's, such as a list. name : of the argument."""
    if not isinstance(array, _ARRAY):
        raise ValueError(f"{name} is of type {type(array).__name__}; expected a NumPy array.")


def is_whole(number: object) -> bool:
    """Whether it is an integer, Python's or NumPy's: 2.0 is not, as it would reach compiled code as a fraction."""
    return isinstance(number, _WHOLE)
