"""What every kernel asks of its input."""

import numpy as np


def check_array(array: object, name: str) -> None:
    """Raise ValueError for what is not NumPy's, such as a list. name : of the argument."""
    if not isinstance(array, np.ndarray | np.generic):
        raise ValueError(f"{name} is of type {type(array).__name__}; expected a NumPy array.")
