"""How a recording is spoken, changed in it: melody, tempo, vocal tract, colour, breath.

Source and filter (Fant 1960): the pitch is moved with everything else
(:mod:`stepaudio.pitch_shift`), then every moment gets the spectral envelope back that the recording
has there (:mod:`stepaudio.true_envelope`), changed where the manner changes it. What was said
stays, because its sounds are never made anew; without any voice left, it is whispered.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.pitch_shift import shift_pitch
from stepaudio.pitch_track import track_pitch
from stepaudio.tempo import LARGEST_TEMPO
from stepaudio.true_envelope import true_envelope

__all__ = ["COLOUR_HZ", "Manner", "change_manner"]

_Array = NDArray[np.float64]

#: Where :attr:`Manner.colour` is told, Hz: octaves.
COLOUR_HZ = (125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)

_RANGES = {
    "melody": (0.0, 10.0),
    "rate": (1 / LARGEST_TEMPO, LARGEST_TEMPO),
    "formants": (0.5, 2.0),
    "breath": (0.0, 1.0),
    "tremor": (0.0, 0.5),
}
# Semitones: further from the median a tracker is wrong, and further moved nobody speaks.
_LARGEST_DEVIATION, _LOWEST, _HIGHEST = 10.0, -14.0, 18.0
# Frames of 10 ms: a slip of the tracker is shorter, a melody is smooth over less.
_SLIP, _SMOOTHING = 7, np.hanning(11)[1:-1]
_FEWEST_VOICED = 5
_TREMOR_HZ, _RISE_SECONDS = 6.0, 0.6
# A voice without a pitch that could be told is treated as one of this, in Hz.
_MIDDLE_PITCH = 150.0
_FRAME_SECONDS = 0.025
# Cepstral coefficients up to this share of the highest pitch's period, within limits in seconds.
_BELOW_PERIOD, _ORDER_SECONDS = 0.8, (0.0012, 0.003)
# Nothing is raised further (40 dB): what the source has none of cannot be had from it.
_LARGEST_GAIN = math.log(10 ** (40 / 20))
# Frames at a time: an hour of them would not fit into memory.
_BLOCK = 2048
_DB_OF_E = 20 / math.log(10)
_FLOOR = 1e-7
_PEAK = 0.99


@dataclass(frozen=True)
class Manner:
    """What changes.

    Attributes:
        pitch: semitones that the median F0 moves.
        melody: distances of F0 from its median, in semitones, are multiplied by this; 1 keeps the
            melody.
        rate: factor on the speaking rate; above 1 is faster.
        formants: factor on formant frequencies; above 1 for a shorter vocal tract.
        colour: dB that the spectrum gains at each of :data:`COLOUR_HZ`; empty for none. The level
            of the recording as a whole stays.
        breath: share of white noise in what the vocal tract filters; 1 is a whisper.
        tremor: depth of a trembling of F0, relative.
        rise: semitones that F0 rises towards the end of the recording.

    Raises:
        ValueError: a number is not finite or out of its range.
    """

    pitch: float = 0.0
    melody: float = 1.0
    rate: float = 1.0
    formants: float = 1.0
    colour: tuple[float, ...] = ()
    breath: float = 0.0
    tremor: float = 0.0
    rise: float = 0.0

    def __post_init__(self) -> None:
        numbers = {**dataclasses.asdict(self), "colour": sum(self.colour)}
        if not all(math.isfinite(number) for number in numbers.values()):
            raise ValueError(f"every number of a manner must be finite, not {self}")
        if len(self.colour) not in (0, len(COLOUR_HZ)):
            raise ValueError(f"colour has {len(self.colour)} numbers but needs {len(COLOUR_HZ)}")
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)} but must be {low:g} to {high:g}")


def change_manner(audio: Audio, manner: Manner, *, seed: int = 0) -> Audio:
    """Speak it in another manner.

    Args:
        audio: of any rate and length.
        manner: what changes.
        seed: of the noise of :attr:`Manner.breath`.

    Returns:
        ``round(S / rate)`` samples, at least one, at the same rate and as loud on average, unless
        its peaks have no room for that. Silence stays silent.
    """
    samples = audio.samples.double().numpy()
    loudness = math.sqrt(float(np.mean(samples**2)))
    count = max(1, round(len(samples) / manner.rate))
    if loudness == 0:
        return Audio(torch.zeros(count), audio.sample_rate)
    places = np.minimum(np.arange(count) * manner.rate, len(samples) - 1.0)
    melody, middle = _melody(audio)
    deviations = np.interp(places / audio.sample_rate * 100, np.arange(len(melody)), melody)
    ratios = 2 ** (_semitones(deviations, manner, audio.sample_rate) / 12)
    source = np.zeros(count)
    if manner.breath < 1:
        source = shift_pitch(samples, ratios, places, audio.sample_rate)
        source *= (1 - manner.breath) * loudness / max(float(source.std()), _FLOOR)
    if manner.breath:
        noise = np.random.default_rng(seed).standard_normal(count)
        source += manner.breath * loudness * noise
    # The higher of the two pitches has the fewest coefficients without its harmonics.
    highest = middle * 2 ** (np.quantile(deviations, 0.9) / 12)
    period = 1 / (highest * max(1.0, float(np.quantile(ratios, 0.9))))
    order = round(float(np.clip(_BELOW_PERIOD * period, *_ORDER_SECONDS)) * audio.sample_rate)
    changed = _in_envelope(source, samples, order, manner, audio.sample_rate)
    changed *= loudness / max(math.sqrt(float(np.mean(changed**2))), _FLOOR)
    changed /= max(1.0, float(np.abs(changed).max()) / _PEAK)
    return Audio(torch.from_numpy(changed.astype(np.float32)), audio.sample_rate)


def _melody(audio: Audio) -> tuple[_Array, float]:
    """Semitones around the median every 10 ms ``[T]``, also without voice; and the median in Hz."""
    f0 = track_pitch(audio).double().numpy()
    voiced = np.flatnonzero(np.isfinite(f0))
    if len(voiced) < _FEWEST_VOICED:
        return np.zeros(2), _MIDDLE_PITCH
    pitch = 12 * np.log2(f0[voiced])
    median = float(np.median(pitch))
    near = np.clip(pitch - median, -_LARGEST_DEVIATION, _LARGEST_DEVIATION)
    course = median_filter(np.interp(np.arange(len(f0)), voiced, near), _SLIP, mode="nearest")
    edge = len(_SMOOTHING) // 2
    smooth = np.convolve(np.pad(course, edge, mode="edge"), _SMOOTHING / _SMOOTHING.sum(), "valid")
    return smooth, 2 ** (median / 12)


def _semitones(deviations: _Array, manner: Manner, sample_rate: int) -> _Array:
    """``[N]`` how far every sample of the result is moved."""
    moved = manner.pitch + (manner.melody - 1) * deviations
    seconds = np.arange(len(moved)) / sample_rate
    if manner.tremor:
        moved = moved + 12 * np.log2(1 + manner.tremor * np.sin(2 * np.pi * _TREMOR_HZ * seconds))
    if manner.rise:
        moved = moved + manner.rise * np.clip(1 + (seconds - seconds[-1]) / _RISE_SECONDS, 0, 1)
    return np.clip(moved, _LOWEST, _HIGHEST)


def _in_envelope(
    source: _Array, recording: _Array, order: int, manner: Manner, sample_rate: int
) -> _Array:
    """The source ``[N]`` with the envelopes of the recording ``[S]``, changed."""
    length = 1 << math.ceil(math.log2(_FRAME_SECONDS * sample_rate))
    hop = length // 4
    window = torch.hann_window(length, dtype=torch.float64)
    spoken, said = (_frames(x, length, hop) for x in (source, recording))
    out = torch.zeros((len(spoken) - 1) * hop + length, dtype=torch.float64)
    weight = torch.zeros_like(out)
    for start in range(0, len(spoken), _BLOCK):
        spectra = torch.fft.rfft(spoken[start : start + _BLOCK] * window)
        # Which frames of the recording these are, as they may be spoken at another rate.
        at = (start + torch.arange(len(spectra), dtype=torch.float64)) * manner.rate
        at = at.clamp(max=len(said) - 1)
        first, last = int(at[0]), int(at[-1]) + 2
        heard = torch.fft.rfft(said[first:last] * window)
        wanted = _read_rows(true_envelope(_levels(heard), order), at - first)
        wanted = _changed(wanted, manner, sample_rate)
        given = true_envelope(_levels(spectra), order)
        gain = (wanted - given).clamp(max=_LARGEST_GAIN).exp()
        frames = torch.fft.irfft(spectra * gain, n=length) * window
        for number, frame in enumerate(frames, start):
            out[number * hop : number * hop + length] += frame
            weight[number * hop : number * hop + length] += window.square()
    middle = slice(length // 2, length // 2 + len(source))
    changed: _Array = (out[middle] / weight[middle]).numpy()
    return changed


def _frames(samples: _Array, length: int, hop: int) -> Tensor:
    """``[T, length]`` frames around every ``hop``-th sample, without copying them."""
    half = length // 2
    # One more at the end, so that every sample has all of its frames.
    padded = torch.nn.functional.pad(torch.from_numpy(samples), (half, half + hop))
    return padded.unfold(0, length, hop)


def _levels(spectra: Tensor) -> Tensor:
    """Logarithms of magnitudes."""
    return spectra.abs().clamp_min(_FLOOR).log()


def _changed(envelopes: Tensor, manner: Manner, sample_rate: int) -> Tensor:
    """Envelopes ``[T, F]`` with formants and colour changed."""
    bins = torch.arange(envelopes.shape[1], dtype=torch.float64)
    moved = _read_rows(envelopes.T, bins / manner.formants).T
    if not manner.colour:
        return moved
    hertz = bins.numpy() * sample_rate / (2 * (len(bins) - 1))
    octaves = np.log2(np.maximum(hertz, COLOUR_HZ[0]))
    return (
        moved + torch.from_numpy(np.interp(octaves, np.log2(COLOUR_HZ), manner.colour)) / _DB_OF_E
    )


def _read_rows(values: Tensor, places: Tensor) -> Tensor:
    """Rows ``[N, C]`` between those of ``[T, C]``; places ``[N]`` may be beyond the last."""
    places = places.clamp(max=len(values) - 1)
    below = places.long()
    above = (below + 1).clamp(max=len(values) - 1)
    weight = (places - below)[:, None]
    return values[below] * (1 - weight) + values[above] * weight
