"""Train a classifier of statistics, and measure it on speakers it has not heard."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.progress import track

from recipes.judges.clips import Clip, fold_speakers
from recipes.judges.pairs import differences, questions
from stepaudio.audio import Audio
from stepaudio.evaluation.confusion import Confusion
from stepaudio.evaluation.recognizer import WhisperRecognizer
from stepaudio.evaluation.statistics_classifier import StatisticsClassifier, StatisticsConfig
from stepaudio.evaluation.voice_statistics import course_of, statistics
from stepaudio.hub import write_atomic

__all__ = ["fit_statistics", "hear_strangers", "train_statistics_judge", "vary"]

_BATCH, _LR, _DECAY, _SMOOTHING = 128, 2e-3, 0.1, 0.1
# Other microphones, rooms and codecs: dB of tilt per octave, signal to noise, upper edge in Hz.
_TILT_DB, _NOISE_DB, _EDGE_HZ = 3.0, (12.0, 40.0), (3400.0, 8000.0)
# A stretch of this share of the recording at least.
_SHORTEST_PART = 0.6


def vary(audio: Audio, rng: np.random.Generator) -> Audio:
    """Another microphone, room and codec; neither pitch nor tempo, which are the emotion.

    Args:
        audio: 16 kHz.
        rng: source of randomness.

    Returns:
        As long, 16 kHz.
    """
    samples = audio.samples.double().numpy()
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / audio.sample_rate)
    tilt = rng.normal(0, _TILT_DB) * np.log2(np.maximum(hertz, 60) / 1000)
    edge = np.exp(rng.uniform(*np.log(_EDGE_HZ)))
    slope = np.maximum(0, np.log2(np.maximum(hertz, 1) / edge)) * 48
    coloured = np.fft.irfft(spectrum * 10 ** ((tilt - slope) / 20), len(samples))
    # Pink noise is nearer to rooms than white noise.
    noise = rng.standard_normal(len(spectrum)) + 1j * rng.standard_normal(len(spectrum))
    pink = np.fft.irfft(noise / np.sqrt(np.maximum(hertz, 60)), len(samples))
    level = coloured.std() * 10 ** (-rng.uniform(*_NOISE_DB) / 20)
    mixed = coloured + pink * level / pink.std()
    return Audio(torch.from_numpy((0.3 * mixed / np.abs(mixed).max()).astype(np.float32)), 16000)


def train_statistics_judge(
    clips: Sequence[Clip],
    config: StatisticsConfig,
    out: str | Path,
    *,
    folds: int,
    variants: int = 1,
    steps: int = 400,
    listener: WhisperRecognizer | None = None,
) -> tuple[Confusion, list[tuple[Clip, str]]]:
    """Sum every recording up, train one model per fold and one on everybody.

    The confusion matrix is that of the fold models, each asked about the speakers it was trained
    without. The model kept has heard them all, so the matrix rather understates it. What takes
    long is kept in ``out/vectors`` and not done again.

    Args:
        clips: labelled recordings.
        config: of the network; its labels are all labels of the clips. With ``pairs``, it learns
            and is asked how each recording differs from a natural one of the same speaker.
        out: folder; ``out/model`` is what a judge loads.
        folds: parts into which speakers are dealt.
        variants: varied versions of every recording, beside itself.
        steps: of the optimizer, for each model.
        listener: as in the config.

    Returns:
        The confusion matrix, and what was heard in every recording.
    """
    out = Path(out)
    vectors = _listen(clips, config, out, variants, listener)
    material = differences(clips, vectors) if config.pairs else (clips, vectors)
    answers: list[tuple[Clip, str]] = []
    for part in fold_speakers(clips, folds):
        model = fit_statistics(*material, config, steps=steps, without=part)
        model.ears = listener
        left_out = [number for number, clip in enumerate(clips) if clip.speaker in part]
        answers += _answers(model, [clips[n] for n in left_out], [vectors[n] for n in left_out])
    confusion = Confusion.of(
        config.labels,
        [(clip.label, heard) for clip, heard in answers],
        speakers=(clip.speaker for clip, _ in answers),
        protocol=(
            f"{folds} folds of whole speakers, each heard by a model trained without them; the "
            "model kept was trained in the same way on all speakers"
        ),
    )
    model = fit_statistics(*material, config, steps=steps, without=set())
    model.save_pretrained(out / "model", force=True)
    confusion.save(out / "model", force=True)
    return confusion, answers


def hear_strangers(
    clips: Sequence[Clip], out: str | Path, listener: WhisperRecognizer | None
) -> list[tuple[Clip, str]]:
    """Ask the judge that was kept about people and a corpus it was not trained on.

    Args:
        clips: labelled recordings of others.
        out: folder that :func:`train_statistics_judge` wrote; vectors are kept there too.
        listener: as in training.

    Returns:
        What is heard in every recording. A judge of pairs says nothing of the recordings of a
        speaker without two natural takes.
    """
    model = StatisticsClassifier.from_pretrained(Path(out) / "model").eval()
    model.ears = listener
    return _answers(model, clips, _listen(clips, model.config, Path(out), 0, listener))


def _answers(
    model: StatisticsClassifier, clips: Sequence[Clip], vectors: Sequence[NDArray[np.float32]]
) -> list[tuple[Clip, str]]:
    """What a judge with this network says of recordings."""

    @functools.cache  # one recording is before several others
    def stretches(number: int) -> NDArray[np.floating[Any]]:
        audio = Audio.load(clips[number].path)
        # A recording of one stretch was summed up already, just as the judge would.
        short = audio.seconds <= model.config.seconds
        return vectors[number][:1] if short else model.stretches(audio)

    if model.config.pairs:
        found = [
            (clips[after], model.classify_change(stretches(before), stretches(after)))
            for before, after in questions(clips)
        ]
    else:
        found = [
            (clip, model.classify_vectors(stretches(number))) for number, clip in enumerate(clips)
        ]
    return [(clip, model.config.labels[int(likely.argmax())]) for clip, likely in found]


def _listen(
    clips: Sequence[Clip],
    config: StatisticsConfig,
    out: Path,
    variants: int,
    listener: WhisperRecognizer | None,
) -> list[NDArray[np.float32]]:
    return [
        _vectors(clip, config, out / "vectors", variants, listener)
        for clip in track(clips, "listening")
    ]


def _vectors(
    clip: Clip,
    config: StatisticsConfig,
    folder: Path,
    variants: int,
    listener: WhisperRecognizer | None,
) -> NDArray[np.float32]:
    """``[1 + variants, size]``: the recording as it is, then varied parts of it."""
    key = f"{Path(clip.path).name} {config.whisper_version} {variants}"
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
    if path.exists():
        kept: NDArray[np.float32] = np.load(path)
        if kept.shape == (1 + variants, config.size):
            return kept
    audio = Audio.load(clip.path).resample(16000)
    rng = np.random.default_rng(int(hashlib.sha256(key.encode()).hexdigest()[:8], 16))
    rows = [statistics(course_of(audio, listener))]
    for _ in range(variants):
        course = course_of(vary(audio, rng), listener)
        length = round(len(course) * rng.uniform(_SHORTEST_PART, 1))
        start = int(rng.integers(len(course) - length + 1))
        rows.append(statistics(course.part(start, start + length)))
    found = np.stack(rows).astype(np.float32)

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.save(file, found)

    write_atomic(path, write, force=True)
    return found


def fit_statistics(
    clips: Sequence[Clip],
    vectors: Sequence[NDArray[np.float32]],
    config: StatisticsConfig,
    *,
    steps: int,
    without: set[str],
    shares: Mapping[str, float] | None = None,
) -> StatisticsClassifier:
    """Train the two layers.

    Args:
        clips: labelled recordings.
        vectors: ``[N, size]`` of each; differences for a network of pairs.
        config: of the network.
        steps: of the optimizer.
        without: speakers left out.
        shares: how much more often than others a label is drawn; None draws all alike.

    Returns:
        The network, in evaluation mode.
    """
    torch.manual_seed(0)
    model = StatisticsClassifier(config).train()
    used = [number for number, clip in enumerate(clips) if clip.speaker not in without]
    inputs = torch.from_numpy(np.concatenate([vectors[number] for number in used]))
    targets = torch.tensor([config.labels.index(clips[n].label) for n in used for _ in vectors[n]])
    if not config.pairs:
        model.mean.copy_(inputs.mean(0))
    model.deviation.copy_(inputs.std(0) + 1e-3)
    # Drawn evenly over labels, and over the speakers of each.
    cells = [(clips[n].speaker, clips[n].label) for n in used for _ in vectors[n]]
    speakers = Counter(label for _, label in dict.fromkeys(cells))
    sizes = Counter(cells)
    often = shares or {}
    weights = torch.tensor(
        [often.get(cell[1], 1.0) / (sizes[cell] * speakers[cell[1]]) for cell in cells]
    )
    optimizer = torch.optim.AdamW(model.parameters(), _LR, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        drawn = torch.multinomial(weights, _BATCH, replacement=True)
        loss = F.cross_entropy(model(inputs[drawn]), targets[drawn], label_smoothing=_SMOOTHING)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return model.eval()
