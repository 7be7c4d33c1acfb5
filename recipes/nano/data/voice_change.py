"""What each edit does to a voice, as rules on pitch, spectrum, noise and time.

The same table drives the synthetic speaker (whose spectrum and pitch are known exactly) and the
WORLD transforms of real recordings. They are rules, not human acting; the model card says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

__all__ = ["CHANGES", "VoiceChange", "change_pitch", "frequency_gain_db", "warp_frequencies"]

Array = npt.NDArray[np.float32]

#: How far a rule goes when it is applied twice, as a power of how far it goes once.
MORE = 1.4


@dataclass(frozen=True)
class VoiceChange:
    """One rule.

    Attributes:
        pitch: factor on the median F0.
        range: exponent on the F0 contour around its median, in log frequency.
        rate: factor on the speaking rate.
        tilt_db: spectral tilt, dB gained at 4 kHz relative to 500 Hz.
        gain_db: level.
        breath_db: gain of the noise part.
        warp: factor on formant frequencies (above 1: a smaller head).
        tremor: depth of a 6 Hz modulation of F0, relative.
        whisper: replace voicing by noise.
        final_rise: factor reached by F0 at the end of the utterance.
    """

    pitch: float = 1.0
    range: float = 1.0
    rate: float = 1.0
    tilt_db: float = 0.0
    gain_db: float = 0.0
    breath_db: float = 0.0
    warp: float = 1.0
    tremor: float = 0.0
    whisper: bool = False
    final_rise: float = 1.0

    @property
    def only_tempo(self) -> bool:
        """Whether nothing but the speaking rate changes."""
        return self == VoiceChange(rate=self.rate)

    def again(self) -> VoiceChange:
        """The rule on a recording that it was applied to already: further, but less so."""
        factors = {
            f: getattr(self, f) ** MORE for f in ("pitch", "range", "rate", "warp", "final_rise")
        }
        amounts = {
            f: getattr(self, f) * MORE for f in ("tilt_db", "gain_db", "breath_db", "tremor")
        }
        return replace(self, **factors, **amounts)


#: Keyed by ``"<edit type>:<label>"``, labels as published.
CHANGES: dict[str, VoiceChange] = {
    "emotion:happy": VoiceChange(pitch=1.28, range=1.7, rate=1.1, tilt_db=4.5, gain_db=2),
    "emotion:sad": VoiceChange(pitch=0.86, range=0.42, rate=0.76, tilt_db=-7.5, gain_db=-4),
    "emotion:angry": VoiceChange(pitch=1.15, range=1.4, rate=1.17, tilt_db=9, gain_db=5),
    "emotion:fear": VoiceChange(pitch=1.35, range=0.72, rate=1.2, breath_db=7.5, tremor=0.06),
    "emotion:surprised": VoiceChange(pitch=1.4, range=1.9, tilt_db=3, final_rise=1.5),
    "style:whisper": VoiceChange(whisper=True, rate=0.95),
    "style:child": VoiceChange(pitch=1.4, range=1.2, warp=1.16),
    "style:older": VoiceChange(pitch=0.88, rate=0.85, warp=0.95, tremor=0.05, tilt_db=-3),
    "style:exaggerated": VoiceChange(pitch=1.12, range=2.2, rate=0.88, gain_db=2),
    "style:serious": VoiceChange(pitch=0.9, range=0.55, rate=0.9, tilt_db=-2),
    "style:generous": VoiceChange(pitch=1.08, range=1.5, warp=0.96, tilt_db=6, gain_db=4),
    "style:act_coy": VoiceChange(
        pitch=1.25, range=1.6, rate=0.9, warp=1.08, breath_db=3, final_rise=1.2
    ),
    "speed:faster": VoiceChange(rate=1.3),
    "speed:slower": VoiceChange(rate=0.77),
    "speed:more faster": VoiceChange(rate=1.6),
    "speed:more slower": VoiceChange(rate=0.63),
}


def change_pitch(f0: Array, change: VoiceChange, frame_rate: float) -> Array:
    """Apply the pitch part of a rule.

    Args:
        f0: ``[T]`` Hz, 0 where unvoiced.
        change: the rule.
        frame_rate: frames per second.

    Returns:
        ``[T]`` Hz, 0 where unvoiced.
    """
    voiced = f0 > 0
    if change.whisper or not voiced.any():
        return np.zeros_like(f0)
    out = f0.astype(np.float64)
    median = np.median(out[voiced])
    out[voiced] = median * change.pitch * (out[voiced] / median) ** change.range
    time = np.arange(len(f0)) / frame_rate
    if change.tremor:
        out[voiced] *= 1 + change.tremor * np.sin(2 * np.pi * 6.0 * time[voiced])
    if change.final_rise != 1.0:
        tail = np.clip((time - time[-1] + 0.6) / 0.6, 0, 1)
        out[voiced] *= change.final_rise ** tail[voiced]
    return np.where(voiced, np.clip(out, 60.0, 600.0), 0.0).astype(np.float32)


def frequency_gain_db(frequencies: Array, change: VoiceChange) -> Array:
    """Level and tilt of a rule, dB for each frequency in Hz."""
    octaves = np.log2(np.clip(frequencies, 125.0, 8000.0) / 500.0)
    gain: Array = (change.gain_db + change.tilt_db * octaves / 3.0).astype(np.float32)
    return gain


def warp_frequencies(spectrum: Array, factor: float) -> Array:
    """Move formants: value at ``f`` comes from ``f / factor``. ``[T, F]`` to ``[T, F]``."""
    if factor == 1.0:
        return spectrum
    bins = spectrum.shape[1]
    position = np.minimum(np.arange(bins) / factor, bins - 1)
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, bins - 1)
    weight = (position - low).astype(np.float32)
    warped: Array = spectrum[:, low] * (1 - weight) + spectrum[:, high] * weight
    return warped
