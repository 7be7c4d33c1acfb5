"""Which samples of a batch are computed together.

Samples of different lengths are padded to the longest, and a mask keeps each from hearing the
padding, so together or alone they come out the same. What padding costs is time and memory.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["TOGETHER_SECONDS", "group_by_length"]

#: Most sound that is decoded at once, padding and voices included.
TOGETHER_SECONDS = 240.0
# A sample is not padded to more than this many times its length.
_STRETCH = 1.5


def group_by_length(lengths: Sequence[float], most: float) -> list[list[int]]:
    """Put samples of similar length into groups of bounded size.

    Args:
        lengths: of the samples, in any unit.
        most: longest length of a group times its number of samples; a longer sample is a group of
            its own.

    Returns:
        Sample numbers by group, the longest first; each sample is in one group.
    """
    groups: list[list[int]] = []
    longest = 0.0
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        full = groups and (len(groups[-1]) + 1) * longest > most
        if not groups or full or lengths[i] * _STRETCH < longest:
            groups.append([])
            longest = lengths[i]
        groups[-1].append(i)
    return groups
