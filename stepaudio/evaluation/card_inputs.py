"""What the sections of a model card start from: recordings, sentences, and recordings made worse.

All of it comes from one manifest of speakers that the model has never heard, whose rows say by
``set`` which corpus they belong to, and from a seed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import soundfile

from stepaudio.audio import Audio
from stepaudio.edits import REMOVE
from stepaudio.errors import EvaluationError
from stepaudio.evaluation.benchmark_data import Row, unique_ids
from stepaudio.evaluation.card_sentences import SENTENCES
from stepaudio.evaluation.mixing import with_noise, with_silence
from stepaudio.evaluation.recordings import Recording, read_recordings, rows_of_recordings

__all__ = ["SNR_DB", "Corpora", "Material", "denoise_inputs", "read_material", "silence_inputs"]

#: Speech over noise before denoising, dB.
SNR_DB = 5.0

#: Voices that say the sentences.
_VOICES = 4
# Longer recordings are outside what the model was made for, shorter ones have no words to lose.
_LONGEST, _SHORTEST = 20.0, 2.0
# Silence put in front, behind, and into two pauses, seconds.
_ENDS, _INSIDE = (0.4, 0.8), (0.8, 1.2)
# Recordings whose edit is timed should last about so long, seconds.
_TIMED_SECONDS = 10.0

_Worse: TypeAlias = Callable[[Audio, np.random.Generator], Audio]


@dataclass(frozen=True)
class Corpora:
    """Which rows of the manifest are what, by their ``set``.

    Attributes:
        speech: English readings with words, of many speakers; several sets by commas.
        mandarin: Chinese with words.
        noise: recordings of noises.
    """

    speech: str = "librispeech"
    mandarin: str = "magicdata_tts_zh"
    noise: str = "esc10"


@dataclass(frozen=True)
class Material:
    """Recordings to work on.

    Attributes:
        speech: English, with words.
        mandarin: Chinese, with words.
        noises: of any length.
        corpora: where they come from.
        seed: of every choice.
    """

    speech: tuple[Recording, ...]
    mandarin: tuple[Recording, ...]
    noises: tuple[Path, ...]
    corpora: Corpora
    seed: int = 0

    def readings(self, lang: Literal["en", "zh"]) -> list[Row]:
        """Recordings as they are, without an edit.

        Args:
            lang: of the words.

        Returns:
            A row for each.
        """
        rows = [
            Row(
                id="",
                published_id=one.id,
                task="",
                label="",
                speaker=one.speaker,
                lang=lang,
                text=one.text,
                origin=one.origin,
                recording=one.path,
                set=one.set,
            )
            for one in (self.speech if lang == "en" else self.mandarin)
        ]
        return unique_ids(rows)

    def edits(self, task: str, labels: Sequence[str] = ("",)) -> list[Row]:
        """Every English recording with every label.

        Args:
            task: kind of edit.
            labels: of that kind.

        Returns:
            The rows.
        """
        return rows_of_recordings(self.speech, [(task, label) for label in labels])

    def sounds(self, tags: Sequence[str]) -> list[Row]:
        """Every English recording with every tag after half of its words.

        Args:
            tags: of :data:`stepaudio.edits.PARALINGUISTIC_TAGS`.

        Returns:
            The rows.
        """
        rows = []
        for tag in tags:
            tagged = [replace(one, text=_with_tag(one.text, tag)) for one in self.speech]
            rows += rows_of_recordings(tagged, [("paralinguistic", tag)])
        return unique_ids(rows)

    def speech_from_text(self) -> list[Row]:
        """Every sentence in each of four voices, dealt out to the voices in turn.

        Returns:
            The rows in the order in which they are to be taken: no sentence is said twice before
            all were said once, and no voice says more than one more than another.
        """
        voices: dict[str, Recording] = {}
        for one in sorted(self.speech, key=lambda r: (_rank(self.seed, r.speaker), r.id)):
            voices.setdefault(one.speaker, one)
        prompts = list(voices.items())[:_VOICES]
        deck = sorted(range(len(SENTENCES)), key=lambda n: _rank(self.seed, f"sentence-{n}"))
        dealt = []
        for turn in range(len(prompts) * len(deck)):
            # Here every voice would get its first sentence again: from now on the one behind.
            shift = turn // math.lcm(len(prompts), len(deck))
            dealt.append((prompts[turn % len(prompts)], deck[(turn + shift) % len(deck)]))
        rows = [
            Row(
                id="",
                published_id=f"sentence-{number}",
                task="",
                label="",
                speaker=speaker,
                lang="en",
                text=SENTENCES[number],
                origin=f"stepaudio.evaluation.card_sentences:{number}",
                prompt_audio=one.path,
                prompt_text=one.text,
            )
            for (speaker, one), number in dealt
        ]
        return unique_ids(rows)

    def timed(self, count: int) -> list[Row]:
        """One edit of the recordings whose length is nearest to ten seconds.

        Args:
            count: of recordings.

        Returns:
            The rows.
        """
        lengths = {one.id: soundfile.info(one.path).duration for one in self.speech}
        near = sorted(self.speech, key=lambda one: (abs(lengths[one.id] - _TIMED_SECONDS), one.id))
        # No model has a shortcut for this one: its language model writes it.
        return rows_of_recordings(near[:count], [("emotion", REMOVE)])


def read_material(manifest: str | Path, corpora: Corpora, seed: int) -> Material:
    """Read what a model card is measured on.

    Args:
        manifest: as for :func:`stepaudio.evaluation.recordings.read_recordings`, with ``set``.
        corpora: which sets are used.
        seed: of every choice.

    Returns:
        Recordings of 2 to 20 s. Chinese and noise may be absent.

    Raises:
        EvaluationError: no English speech, or the manifest cannot be used.
    """
    found = read_recordings(manifest)
    readings = corpora.speech.split(",")
    speech = tuple(one for one in found if one.set in readings and _fits(one))
    if not speech:
        sets = ", ".join(sorted({one.set for one in found if one.set})) or "none"
        raise EvaluationError(
            f"{manifest} has no recordings with words and the set {corpora.speech!r}; "
            f"its sets are: {sets}"
        )
    return Material(
        speech,
        tuple(one for one in found if one.set == corpora.mandarin and _fits(one)),
        tuple(one.path for one in found if one.set == corpora.noise),
        corpora,
        seed,
    )


def denoise_inputs(rows: Sequence[Row], material: Material, folder: Path) -> list[Row]:
    """Recordings in noise at :data:`SNR_DB`.

    Args:
        rows: whose recordings are clean.
        material: has the noises.
        folder: for the noisy ones; those that are there are kept.

    Returns:
        The same rows with noisy recordings.

    Raises:
        EvaluationError: there are no noises.
    """
    if not material.noises:
        raise EvaluationError(f"no recording has the set {material.corpora.noise!r}")

    def worse(clean: Audio, rng: np.random.Generator) -> Audio:
        noise = material.noises[int(rng.integers(len(material.noises)))]
        return with_noise(clean, Audio.load(noise), SNR_DB, rng)

    return _made(rows, material.seed, folder, worse)


def silence_inputs(rows: Sequence[Row], material: Material, folder: Path) -> list[Row]:
    """Recordings with 0.4 to 0.8 s of silence at both ends and two pauses of 0.8 to 1.2 s more.

    Args:
        rows: whose recordings have ordinary pauses.
        material: has the seed.
        folder: for the longer ones; those that are there are kept.

    Returns:
        The same rows with longer recordings.
    """

    def worse(clean: Audio, rng: np.random.Generator) -> Audio:
        first, last = (float(x) for x in rng.uniform(*_ENDS, 2))
        return with_silence(clean, [float(x) for x in rng.uniform(*_INSIDE, 2)], (first, last), rng)

    return _made(rows, material.seed, folder, worse)


def _made(rows: Sequence[Row], seed: int, folder: Path, worse: _Worse) -> list[Row]:
    made = []
    for row in rows:
        assert row.recording is not None
        path = folder / f"{row.id}.flac"
        if not path.exists():
            rng = np.random.default_rng([seed, _rank(seed, row.id)])
            worse(Audio.load(row.recording), rng).save(path)
        made.append(replace(row, recording=path))
    return made


def _fits(one: Recording) -> bool:
    return bool(one.text) and _SHORTEST <= soundfile.info(one.path).duration <= _LONGEST


def _with_tag(text: str, tag: str) -> str:
    words = text.split() or [text]
    middle = (len(words) + 1) // 2
    return " ".join([*words[:middle], tag, *words[middle:]])


def _rank(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")
