"""Pauses of a recording, and the recording without what is too much of them.

Taking silence out needs no new sound: what is left is the recording itself, sample for sample but
for a short fade at every cut, so no word can be lost that is louder than the pause it stands in.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from scipy.ndimage import median_filter

from stepaudio.audio import Audio
from stepaudio.spans import FADE_SECONDS, cross_fade

__all__ = ["cut_pauses", "find_pauses"]

#: Frames of 10 ms; a level is that of 30 ms around its frame.
_HOP_SECONDS, _FRAMES = 0.01, 3
#: Clicks shorter than half of this, in frames, do not end a pause.
_CLICK = 11
#: A pause lies this far below the speech, dB, or nearly as low as the quietest tenth of the
#: recording: what hums through the pauses of a noisy recording is no speech.
_BELOW_DB, _ABOVE_FLOOR_DB = 30.0, 5.0
#: Speech and pauses that differ by less cannot be told apart: nothing is a pause then.
_LEAST_CONTRAST_DB = 12.0
#: Speech in less than the loudest twentieth is what stands out by this much, as long as three
#: quarters of the recording are as quiet as its quietest tenth: noisy speech has peaks, too.
_RARE_CONTRAST_DB = 20.0
#: Shortest pause, seconds; the closure of a stop takes up to 0.12.
SHORTEST = 0.2
#: Silence left beside the words at a cut, and at both ends: weak consonants reach into a pause.
MARGIN, EDGE = 0.12, 0.09


def find_pauses(audio: Audio) -> list[tuple[float, float]]:
    """Where nobody speaks, by level.

    Args:
        audio: a recording.

    Returns:
        Start and end of each pause in seconds, in order: of at least :data:`SHORTEST`, at both ends
        of any length. None where speech does not stand out from its background.
    """
    hop = round(_HOP_SECONDS * audio.sample_rate)
    power = audio.samples.double().square().numpy()
    count = len(power) // hop
    if not count:
        return []
    frames = power[: count * hop].reshape(count, hop).mean(axis=1)
    around = np.convolve(frames, np.ones(_FRAMES) / _FRAMES, "same")
    level = median_filter(10 * np.log10(around + 1e-12), size=_CLICK, mode="nearest")
    floor, most, speech = np.percentile(level, [10, 75, 95])
    if speech - floor < _LEAST_CONTRAST_DB:
        loud = level[level >= floor + _RARE_CONTRAST_DB]
        if not len(loud) or most >= floor + _ABOVE_FLOOR_DB:
            return []
        # As far below its loudest moments as the level of a recording that is a quarter speech.
        speech = np.percentile(loud, 80)
    quiet = level < max(speech - _BELOW_DB, floor + _ABOVE_FLOOR_DB)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]))).reshape(-1, 2)
    seconds = hop / audio.sample_rate
    return [
        (float(first * seconds), audio.seconds if last == count else float(last * seconds))
        for first, last in edges
        if first == 0 or last == count or (last - first) * seconds >= SHORTEST
    ]


def cut_pauses(audio: Audio) -> Audio:
    """The recording without silence at its ends and without long pauses.

    Args:
        audio: a recording.

    Returns:
        What is left, at the same rate: :data:`EDGE` of the silence at each end, twice
        :data:`MARGIN` of every longer pause. The same object where there is nothing to cut.
    """
    kept, start = [], 0.0
    for first, last in find_pauses(audio):
        begins, ends = not first, last >= audio.seconds
        cut = 0.0 if begins else first + (EDGE if ends else MARGIN)
        back = audio.seconds if ends else last - (EDGE if begins else MARGIN)
        if back - cut > FADE_SECONDS:
            kept += [(start, cut)] if cut > start else []
            start = back
    if not start:
        return audio
    if start < audio.seconds:
        kept.append((start, audio.seconds))
    rate = audio.sample_rate
    parts = [audio.samples[round(a * rate) : round(b * rate)] for a, b in kept]
    fade = min(round(FADE_SECONDS * rate), *(len(part) // 2 for part in parts))
    pieces = [parts[0]]
    for before, after in pairwise(parts):
        pieces[-1] = pieces[-1][: len(pieces[-1]) - fade]
        pieces += [cross_fade(before[len(before) - fade :], after[:fade]), after[fade:]]
    return Audio(torch.cat(pieces), rate)
