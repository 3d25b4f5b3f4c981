"""Standard output, whose disk may be full, or whose reader may have gone."""

import os
import sys


def drop_unwritten() -> None:
    """Give up what it does not take: Python would try once more at exit, and complain."""
    try:
        if sys.stdout is not None:  # closed, as by >&-
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
