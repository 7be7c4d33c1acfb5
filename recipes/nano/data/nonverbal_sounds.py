"""The ten non-verbal sounds of the published system, made by rule in the voice of a recording.

A mouth that says "oh" stands as in the speaker's own vowels. So a sound is a path through spectral
envelopes of the recording itself, with a contour of pitch, breath and level of its own. They are
rules, not human sounds; real breaths come from :mod:`recipes.nano.data.pauses`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recipes.nano.data.pauses import RATE
from recipes.nano.data.voice_change import VoiceChange, frequency_gain_db, warp_frequencies

__all__ = ["GESTURES", "Gesture", "Tracks", "Voice", "perform"]

Array = npt.NDArray[np.float32]

#: Frames per second, as in the stage that changes real voices.
FRAME_RATE = 100.0


@dataclass(frozen=True)
class Gesture:
    """One sound. Curves are given at equally spaced times, from its beginning to its end.

    Attributes:
        mouth: phones whose envelopes it passes through; each a choice, best first.
        seconds: duration.
        db: level of its loud part against the loud part of the speech.
        pitch: factor on the speaker's median F0; empty for a sound without voice.
        level_db: contour of the level.
        breath: share of noise in the amplitude, 0 to 1.
        warp: factor on the formants.
        tilt_db: spectral tilt, dB gained at 4 kHz relative to 500 Hz.
        bursts: how often the contours of level and breath are repeated.
    """

    mouth: tuple[str, ...]
    seconds: float
    db: float
    pitch: tuple[float, ...] = ()
    level_db: tuple[float, ...] = (-25, 0, 0, -25)
    breath: tuple[float, ...] = (0.1,)
    warp: tuple[float, ...] = (1.0,)
    tilt_db: float = 0.0
    bursts: int = 1


_AH, _OH, _UH, _EI = "ɑæʌIW", "Oɔʊɑu", "əʌɜᵊɛ", "Aɛeɪi"

#: Keyed by published tag.
GESTURES: dict[str, Gesture] = {
    "[Breathing]": Gesture(
        (_UH,), 0.45, -17, level_db=(-25, -6, 0, -2, -25), breath=(1,), tilt_db=14,
        warp=(1.0, 1.08),
    ),
    "[Sigh]": Gesture(
        (_AH, _UH), 0.95, -11, pitch=(1.05, 0.8, 0.68), level_db=(-22, 0, -3, -10, -25),
        breath=(0.6, 0.9, 1), tilt_db=6, warp=(1.06, 0.86),
    ),
    "[Laughter]": Gesture(
        (_UH, _AH, _UH), 0.9, -2, pitch=(1.45, 1.5, 1.2), level_db=(-20, -9, 0, -3, -20),
        breath=(1, 0.9, 0.25, 0.35, 1), tilt_db=2, bursts=5,
    ),
    "[Uhm]": Gesture(
        (_UH, _UH, "m", "m"), 0.6, -3, pitch=(0.96, 0.95, 0.9), level_db=(-25, 0, -1, -5, -7, -25)
    ),
    "[Confirmation-en]": Gesture(
        ("ənŋ", "nŋm"), 0.38, -3, pitch=(0.95, 1.08, 0.85), level_db=(-25, 0, -1, -25)
    ),
    "[Question-ei]": Gesture(
        (_EI, _EI, "iɪ"), 0.36, 0, pitch=(1.0, 1.1, 1.65), level_db=(-20, -2, 0, -22)
    ),
    "[Surprise-oh]": Gesture(
        (_OH, _OH, "ʊuO"), 0.46, 0, pitch=(1.1, 1.6, 1.35, 1.0), level_db=(-20, 0, -2, -25)
    ),
    "[Surprise-ah]": Gesture(
        (_AH,), 0.42, 1, pitch=(1.3, 1.65, 1.45), level_db=(-18, 0, -2, -25), breath=(0.4, 0.15)
    ),
    "[Surprise-wa]": Gesture(
        ("wuʊ", _AH, _AH), 0.52, 1, pitch=(1.0, 1.55, 1.6, 1.2), level_db=(-22, -3, 0, -2, -25)
    ),
    "[Dissatisfaction-hnn]": Gesture(
        ("hə", "nŋm", "nŋm"), 0.55, -3, pitch=(0.9, 0.85, 0.72), level_db=(-14, -4, 0, -3, -25),
        breath=(1, 0.35, 0.25, 0.3),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Tracks:
    """A sound as its synthesis reads it, every 10 ms.

    Attributes:
        f0: ``[T]`` Hz, 0 where unvoiced.
        envelope: ``[T, F]`` log power.
        noise: ``[T, F]`` share of noise in the amplitude.
    """

    f0: Array
    envelope: Array
    noise: Array


@dataclass(frozen=True)
class Voice:
    """What one recording tells of its speaker.

    Attributes:
        pitch: median F0 in Hz.
        mean: ``[F]`` mean log power of what is voiced.
        postures: ``[F]`` log power in the middle of each phone, by symbol.
    """

    pitch: float
    mean: Array
    postures: dict[str, Array]

    @classmethod
    def heard(cls, f0: Array, envelope: Array, phones: Sequence[tuple[str, float]]) -> Voice:
        """From pitch ``[T]``, log power ``[T, F]`` every 10 ms and ``(phone, seconds)`` runs.

        Args:
            f0: Hz, 0 where unvoiced.
            envelope: log power.
            phones: symbols and durations from the start of the recording.

        Returns:
            The voice.

        Raises:
            ValueError: nothing is voiced.
        """
        voiced = f0 > 0
        if not voiced.any():
            raise ValueError("nothing in the recording is voiced")
        found: dict[str, list[Array]] = {}
        time = 0.0
        for symbol, seconds in phones:
            a, b = (round((time + share * seconds) * FRAME_RATE) for share in (0.25, 0.75))
            inside = np.flatnonzero(voiced[a : b + 1]) + a
            if len(inside):
                found.setdefault(symbol, []).append(envelope[inside])
            time += seconds
        postures = {s: np.concatenate(frames).mean(axis=0) for s, frames in found.items()}
        return cls(float(np.median(f0[voiced])), envelope[voiced].mean(axis=0), postures)

    def posture(self, choice: str) -> Array:
        """The envelope of the first phone of a choice that was heard; else the mean."""
        return next((self.postures[s] for s in choice if s in self.postures), self.mean)


def perform(gesture: Gesture, voice: Voice, rng: random.Random) -> Tracks:
    """A sound in a voice, no two alike.

    Args:
        gesture: which sound.
        voice: whose.
        rng: length, pitch, number of bursts, and a drift of the pitch.

    Returns:
        What synthesis reads; its level is still that of the phones.
    """
    if gesture.bursts > 1:
        bursts = rng.randint(3, 6)
        gesture = replace(gesture, seconds=gesture.seconds * bursts / gesture.bursts, bursts=bursts)
    frames = max(8, round(gesture.seconds * rng.uniform(0.8, 1.25) * FRAME_RATE))
    share = np.linspace(0, 1, frames)

    def curve(points: Sequence[float], repeats: int = 1) -> Array:
        at = share * repeats % 1.0 if repeats > 1 else share
        return np.interp(at, np.linspace(0, 1, len(points)), points).astype(np.float32)

    postures = np.stack([voice.posture(choice) for choice in gesture.mouth])
    place = share * (len(postures) - 1)
    low = np.minimum(place.astype(int), len(postures) - 1)
    weight = (place - low)[:, None].astype(np.float32)
    envelope = (
        postures[low] * (1 - weight) + postures[np.minimum(low + 1, len(postures) - 1)] * weight
    )
    frequencies = np.linspace(0, RATE / 2, envelope.shape[1], dtype=np.float32)
    warped = [
        warp_frequencies(frame[None], float(factor))[0]
        for frame, factor in zip(envelope, curve(gesture.warp), strict=True)
    ]
    breath = curve(gesture.breath, gesture.bursts)
    # Loud vowels and soft nasals differ; the contour decides.
    level = np.stack(warped)
    level = level - np.log(np.exp(level).mean(axis=1, keepdims=True))
    level = level + frequency_gain_db(frequencies, VoiceChange(tilt_db=gesture.tilt_db)) / 4.343
    # Breath has no glottal low end.
    level -= np.outer(breath, np.clip(600 - frequencies, 0, 600) / 600 * 3.6)
    level += curve(gesture.level_db, gesture.bursts)[:, None] / 4.343
    f0 = np.zeros(frames, np.float32)
    if gesture.pitch:
        drift = np.interp(share, np.linspace(0, 1, 6), [rng.gauss(0, 0.02) for _ in range(6)])
        pitch = voice.pitch * rng.uniform(0.93, 1.07) * curve(gesture.pitch) * (1 + drift)
        f0 = np.where(breath < 0.95, np.clip(pitch, 55, 600), 0.0).astype(np.float32)
    noise = np.repeat(breath[:, None], envelope.shape[1], axis=1)
    # Nothing is wholly periodic high up.
    noise = np.maximum(noise, np.clip((frequencies - 3000) / 5000, 0, 0.7)[None])
    return Tracks(f0, level.astype(np.float32), noise.astype(np.float32))
