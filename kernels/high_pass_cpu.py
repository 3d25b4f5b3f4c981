"""The high-pass filter's recursion, compiled."""

from typing import Any

from kernels.jit import cached_njit

NOTHING = 1e-30
"""Far below the rounding of any sound: here a state dies away in silence, and not in denormals, ten times slower."""


@cached_njit(nogil=True)  # not fastmath: where a chunk ends must not change a rounding
def filter_in_place(wave: Any, sections: Any, state: Any) -> None:
    """Send `wave`, float64 [shape=(n,)], through each section in turn (transposed direct form II).

    sections : of `HighPass`. state : what each section remembers, float64 [shape=(sections, 2)]; updated.
    """
    for section in range(len(sections)):
        b1, b2, a1, a2 = sections[section, 0], sections[section, 1], sections[section, 2], sections[section, 3]
        gain, first, second = sections[section, 4], state[section, 0], state[section, 1]
        for index in range(len(wave)):
            sample = gain * wave[index]
            filtered = sample + first
            first = b1 * sample - a1 * filtered + second
            second = b2 * sample - a2 * filtered
            if abs(first) < NOTHING and abs(second) < NOTHING:
                first = second = 0.0
            wave[index] = filtered
        state[section, 0], state[section, 1] = first, second
