"""Pairs made by signal processing: speed, denoise, silence (EditX, section on extensions).

- speed: the recording, and itself in another tempo;
- denoise: itself in a room with noise, and the recording;
- trim_silence: the recording, and its stretches of speech cut out and joined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from stepaudio.audio import Audio
from stepaudio.data.degrade import add_noise, reverberate, room
from stepaudio.data.digests import short_digest, sound_digest
from stepaudio.data.manifest import Utterance
from stepaudio.errors import AudioError, DataError
from stepaudio.evaluation.silence import SpeechDetector, best_detector
from stepaudio.seeds import derive_seed
from stepaudio.tempo import change_tempo

__all__ = ["SignalConfig", "join_speech", "make_signal_pairs"]


@dataclass(frozen=True)
class SignalConfig:
    """How recordings are changed.

    Attributes:
        tempos: factor of every speed label.
        snr_db: range of the noise's distance, dB.
        rt60: range of the room's reverberation time, seconds.
        wet: most energy of the echo over that of the direct sound.
        margin: silence left at either end of a stretch of speech, seconds.
        least_removed: a recording that would lose less silence makes no pair, seconds.
    """

    tempos: Mapping[str, float] = field(
        default_factory=lambda: {
            "faster": 1.3,
            "slower": 1 / 1.3,
            "more faster": 1.6,
            "more slower": 1 / 1.6,
        }
    )
    snr_db: tuple[float, float] = (0.0, 15.0)
    rt60: tuple[float, float] = (0.1, 0.6)
    wet: float = 0.3
    margin: float = 0.05
    least_removed: float = 0.3


def join_speech(audio: Audio, spans: Sequence[tuple[float, float]], margin: float) -> Audio | None:
    """Cut stretches of speech out and join them.

    Args:
        audio: the recording.
        spans: start and end of every stretch, seconds, in order.
        margin: kept at either end of a stretch, seconds; stretches that then meet are one.

    Returns:
        The rest; None without speech. Joints are cross-faded over the margins.
    """
    kept: list[tuple[int, int]] = []
    for start, end in spans:
        first = max(0, round((start - margin) * audio.sample_rate))
        last = min(len(audio), round((end + margin) * audio.sample_rate))
        if kept and first <= kept[-1][1]:
            kept[-1] = (kept[-1][0], last)
        elif last > first:
            kept.append((first, last))
    if not kept:
        return None
    joined = audio.samples[slice(*kept[0])]
    for first, last in kept[1:]:
        part = audio.samples[first:last]
        fade = min(round(margin * audio.sample_rate), len(part), len(joined))
        rising = torch.linspace(0, 1, fade)
        middle = joined[len(joined) - fade :] * (1 - rising) + part[:fade] * rising
        joined = torch.cat([joined[: len(joined) - fade], middle, part[fade:]])
    return Audio(joined, audio.sample_rate)


def make_signal_pairs(
    utterances: Iterable[Utterance],
    folder: str | Path,
    *,
    kinds: Sequence[str] = ("speed", "denoise", "trim_silence"),
    noises: Sequence[str | Path] = (),
    config: SignalConfig | None = None,
    detector: SpeechDetector | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Utterance]:
    """Change recordings; what was made before is kept, so a stopped run goes on where it was.

    Ids and files are named after the recording, the change, and a digest of the sound and the
    settings it was made from. So what was made with others is neither taken nor overwritten.

    Args:
        utterances: clean recordings.
        folder: ``folder/audio`` receives FLAC files.
        kinds: of pairs to make.
        noises: recordings of noise, for ``"denoise"``.
        config: how far to go.
        detector: of speech; None is silero-vad's where it is installed, else the one by energy.
        seed: of noises, rooms and distances.
        progress: told after every recording how many are done.

    Returns:
        The recordings and their changed versions, for a manifest;
        :func:`stepaudio.data.pairs.made_pairs` turns them into pairs.

    Raises:
        DataError: an unknown kind, or no noise to denoise from.
        AudioError: a recording cannot be read.
    """
    config = config or SignalConfig()
    unknown = sorted(set(kinds) - {"speed", "denoise", "trim_silence"})
    if unknown:
        raise DataError(f"no such signal pairs: {unknown}; choose speed, denoise, trim_silence")
    if "denoise" in kinds and not noises:
        raise DataError("denoise pairs need recordings of noise; give some or leave the kind out")
    if "trim_silence" in kinds and detector is None:
        detector = best_detector()
    # Few noises lie under many recordings: each is read once for its digest.
    sounds = cache(sound_digest)
    rows = []
    for done, utterance in enumerate(utterances, start=1):
        rows.append(utterance)
        audio = Audio.load(utterance.path)
        source, own_seed = audio.digest(), derive_seed(seed, utterance.id)
        for change, how in _changes(audio, kinds, noises, config, detector, own_seed).items():
            noise = None if how.noise is None else sounds(how.noise)
            made_from = short_digest(source, how.settings, noise)
            name = f"{utterance.id}-{change.replace(':', '-').replace(' ', '_')}-{made_from}"
            path = Path(folder) / "audio" / f"{name}.flac"
            if not path.exists():
                made = how.make()
                if made is None:
                    continue
                made.save(path)
            rows.append(
                replace(
                    utterance,
                    id=name,
                    path=str(path),
                    change=change,
                    source=utterance.id,
                    labels=None,
                    seconds=None,
                    made="rule",
                )
            )
        if progress is not None:
            progress(done)
    return rows


class _Change(NamedTuple):
    """What is done to a recording: what it depends on besides the recording, and what does it."""

    settings: tuple[object, ...]
    noise: str | Path | None
    make: Callable[[], Audio | None]


def _changes(
    audio: Audio,
    kinds: Sequence[str],
    noises: Sequence[str | Path],
    config: SignalConfig,
    detector: SpeechDetector | None,
    seed: int,
) -> dict[str, _Change]:
    """By their names; all draws happen here, so resuming draws the same."""
    found: dict[str, _Change] = {}
    if "speed" in kinds:
        for label, tempo in config.tempos.items():
            found[f"speed:{label}"] = _Change((tempo,), None, partial(change_tempo, audio, tempo))
    if "denoise" in kinds:
        rng = np.random.default_rng(seed)
        path = noises[int(rng.integers(len(noises)))]
        snr, start = rng.uniform(*config.snr_db), int(rng.integers(1 << 24))
        response = room(
            rng,
            rt60=rng.uniform(*config.rt60),
            wet=rng.uniform(0, config.wet),
            sample_rate=audio.sample_rate,
        )
        # Not what was drawn from them: the last bit of a float may differ between machines.
        settings: tuple[object, ...] = (seed, len(noises), config.snr_db, config.rt60, config.wet)
        found["noisy"] = _Change(
            settings,
            path,
            lambda: add_noise(reverberate(audio, response), Audio.load(path), snr, start=start),
        )
    if "trim_silence" in kinds and detector is not None:
        settings = (detector.model, config.margin, config.least_removed)
        found["trim_silence"] = _Change(settings, None, lambda: _trimmed(audio, detector, config))
    return found


def _trimmed(audio: Audio, detector: SpeechDetector, config: SignalConfig) -> Audio | None:
    """Only the speech; None if little would be gone."""
    try:
        spans = detector.speech(audio)
    except AudioError:
        return None
    joined = join_speech(audio, spans, config.margin)
    if joined is None or audio.seconds - joined.seconds < config.least_removed:
        return None
    return joined
