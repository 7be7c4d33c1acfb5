"""What people do to a sentence to sound happy, sad, angry, afraid or disgusted, in numbers.

Pairs of a neutral and an acted recording of the same sentence by the same actor (EmoDB, CC0: eight
actors, German), each as the :class:`~stepaudio.manner.Manner` that leads from one to the other.
What the embedded model does to a voice (``recipes/nano/manners.py``) is a share of the medians. How
much the two recordings sound like one speaker to a machine says what can be asked of an edit.

python -m recipes.nano.actors corpus/manifest.jsonl -o docs/results/nano_actors
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from recipes.nano.data.acted import acted_pairs, emotions_of
from recipes.nano.data.corpus import read_manifest
from stepaudio.audio import Audio
from stepaudio.evaluation.frames import RATE, framed, signal
from stepaudio.evaluation.pitch import AutocorrelationPitch
from stepaudio.evaluation.prosody import VoiceCourse
from stepaudio.evaluation.speakers import ResemblyzerVoice, VoiceEmbedder
from stepaudio.hub import write_atomic
from stepaudio.manner import COLOUR_HZ
from stepaudio.true_envelope import true_envelope

__all__ = ["Voice", "actors_table", "main", "measure_pairs"]

_SETS = ("emodb",)
# Cepstral coefficients at 16 kHz: below the period of a voice of 400 Hz.
_ORDER = 32
_MEASURES = ("similarity", "pitch", "melody", "rate")


class Voice:
    """One recording: who speaks, its pitch, melody, length and long-term spectrum.

    Args:
        audio: the recording.
        embedder: tells who speaks.
    """

    def __init__(self, audio: Audio, embedder: VoiceEmbedder) -> None:
        heard = embedder.embed(audio)
        assert heard is not None, "a sentence is enough to hear a voice"
        self.who = heard / np.linalg.norm(heard)
        course = VoiceCourse.of(audio, AutocorrelationPitch())
        semitones = 12 * np.log2(course.f0[np.isfinite(course.f0)])
        low, self.pitch, high = (float(q) for q in np.percentile(semitones, (10, 50, 90)))
        self.melody = high - low
        self.seconds = course.speaking_seconds or audio.seconds
        frames = framed(signal(audio))[course.loud]
        spectra = np.abs(np.fft.rfft(frames * np.hanning(frames.shape[1]), 512))
        envelopes = true_envelope(torch.from_numpy(np.log(spectra + 1e-7)), _ORDER)
        octaves = np.log2(np.fft.rfftfreq(512, 1 / RATE).clip(COLOUR_HZ[0] / 2))
        mean = 20 / np.log(10) * envelopes.mean(0).numpy()
        near = [np.abs(octaves - np.log2(hertz)) < 0.5 for hertz in COLOUR_HZ]
        self.colour: NDArray[np.float64] = np.array([mean[band].mean() for band in near])


def measure_pairs(
    manifest: str | Path, embedder: VoiceEmbedder
) -> dict[str, list[NDArray[np.float64]]]:
    """What leads from the neutral recording to the acted one, pair by pair.

    Args:
        manifest: of a corpus that names emotions and sentences.
        embedder: tells who speaks.

    Returns:
        By emotion, for every pair ``[4 + 7]``: similarity of the voices, semitones, spread of F0
        and rate as ratios, and dB at :data:`~stepaudio.manner.COLOUR_HZ`, on average 0.
    """
    rows = [row for row in read_manifest(manifest) if row.set in _SETS]
    paths = {row.id: row.path for row in rows}
    voices: dict[str, Voice] = {}
    found: dict[str, list[NDArray[np.float64]]] = {}
    for pair in track(acted_pairs(rows, emotions_of(manifest)), "listening"):
        for name in (pair.id, pair.source):
            if name not in voices:
                voices[name] = Voice(Audio.load(paths[name]), embedder)
        acted, plain = voices[pair.id], voices[pair.source]
        colour = acted.colour - plain.colour
        changes = [
            float(acted.who @ plain.who),
            acted.pitch - plain.pitch,
            acted.melody / plain.melody,
            plain.seconds / acted.seconds,
            *(colour - colour.mean()),
        ]
        found.setdefault(pair.change.removeprefix("emotion:"), []).append(np.array(changes))
    return found


def actors_table(found: Mapping[str, Sequence[NDArray[np.float64]]]) -> str:
    """Medians in Markdown, and between which the middle half of the pairs lies.

    Args:
        found: from :func:`measure_pairs`.

    Returns:
        A table with a row per emotion.
    """
    bands = " | ".join(f"{hertz:g} Hz" for hertz in COLOUR_HZ)
    lines = [
        f"| emotion | pairs | similarity | pitch, semitones | melody × | rate × | dB at {bands} |",
        "|---" * (2 + len(_MEASURES) + len(COLOUR_HZ)) + "|",
    ]
    for emotion, pairs in found.items():
        low, middle, high = np.percentile(np.stack(pairs), (25, 50, 75), axis=0)
        cells = [
            f"{middle[i]:{form}} ({low[i]:{form}} to {high[i]:{form}})"
            for i, form in enumerate((".2f", "+.1f", ".2f", ".2f"))
        ]
        cells += [f"{gain:+.1f}" for gain in middle[len(_MEASURES) :]]
        lines.append(f"| {emotion} | {len(pairs)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Measure and write table and numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest")
    parser.add_argument("-o", "--out", required=True, help="path without a suffix")
    args = parser.parse_args(arguments)
    found = measure_pairs(args.manifest, ResemblyzerVoice())
    numbers = {
        emotion: {
            "pairs": len(pairs),
            **{
                name: round(float(median), 3)
                for name, median in zip(
                    (*_MEASURES, *map(str, COLOUR_HZ)), np.median(pairs, 0), strict=True
                )
            },
        }
        for emotion, pairs in found.items()
    }
    table = actors_table(found)
    print(table)
    for suffix, text in ((".json", json.dumps(numbers, indent=1) + "\n"), (".md", table)):
        write_atomic(
            Path(f"{args.out}{suffix}"),
            lambda path, text=text: path.write_text(text, encoding="utf-8"),  # type: ignore[misc]
            force=True,
        )


if __name__ == "__main__":
    main()
