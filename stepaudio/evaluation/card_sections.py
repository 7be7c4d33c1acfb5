"""The sections of a model card: what each is measured on, by what, and which figures it gives.

Every section is a run of its own (:mod:`stepaudio.evaluation.edit_benchmark`): rows, the items made
of them, and what is measured on these. The numbers to be reached are in
:data:`stepaudio.evaluation.card_figures.TARGETS`, how the figures are computed in
:mod:`stepaudio.evaluation.card_measures`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from stepaudio.errors import EvaluationError
from stepaudio.evaluation import card_measures
from stepaudio.evaluation.benchmark_data import Row
from stepaudio.evaluation.card_figures import Figure
from stepaudio.evaluation.card_inputs import Material, denoise_inputs, silence_inputs
from stepaudio.evaluation.card_measures import ITERATIONS, Context
from stepaudio.evaluation.card_numbers import Measured

__all__ = ["EMOTIONS", "SECTIONS", "STYLES", "Section"]

#: The five emotions of the benchmark.
EMOTIONS = ("happy", "sad", "angry", "surprised", "fear")
#: The styles that can be judged by rule.
STYLES = ("whisper", "child", "older", "exaggerated")

_TIMED_ROWS = 3


Rows: TypeAlias = Callable[[Material, Context], "list[Row]"]
Prepare: TypeAlias = Callable[[Sequence[Row], Material, Path], "list[Row]"]


@dataclass(frozen=True)
class Section:
    """One part of a card.

    Attributes:
        title: for people; ``{sentences}`` and ``{voices}`` are how many there are in the rows.
        rows: all that could be measured.
        figures: what is told.
        limit: most rows of each label.
        metrics: by their names in :data:`stepaudio.evaluation.registry.METRICS`.
        whisper: recogniser behind ``words``.
        judge: task whose judge is asked; empty asks none.
        second: name of another judge of the same edits, whose figures stand beside; empty if none.
        iterations: of emotion and style.
        baseline: what judges and words are compared with.
        prepare: makes recordings worse before they are edited.
        timed: nothing else runs meanwhile.
        ranked: the rows are taken in their order; otherwise spread evenly over speakers.
    """

    title: str
    rows: Rows
    figures: Callable[[Measured, Context], list[Figure]]
    limit: int
    metrics: tuple[str, ...] = ("words",)
    whisper: str = "tiny.en"
    judge: str = ""
    second: str = ""
    iterations: int = 1
    baseline: Literal["iter0", "resynth"] = "iter0"
    prepare: Prepare | None = None
    timed: bool = False
    ranked: bool = False

    def titled(self, rows: Sequence[Row]) -> str:
        """The title of what is measured.

        Args:
            rows: those chosen.

        Returns:
            The title with its numbers.
        """
        sentences, voices = {row.words for row in rows}, {row.speaker for row in rows}
        return self.title.format(sentences=len(sentences), voices=len(voices))


def _mandarin(material: Material, context: Context) -> list[Row]:
    if not material.mandarin:
        raise EvaluationError(f"no recording with words has the set {material.corpora.mandarin!r}")
    return material.readings("zh")


#: The sections in the order of the card, by the names that select them.
SECTIONS: Mapping[str, Section] = {
    "resynth": Section(
        "Resynthesis: tokens and back",
        lambda material, _: material.readings("en"),
        card_measures.resynth,
        limit=45,
        metrics=("words", "speaker", "dnsmos", "distillmos"),
        baseline="resynth",
    ),
    "speak": Section(
        "Zero-shot speech: {sentences} sentences in {voices} voices",
        lambda material, _: material.speech_from_text(),
        card_measures.speak,
        limit=200,
        metrics=("words", "speaker", "dnsmos"),
        ranked=True,
    ),
    "emotion": Section(
        "Emotion, three times the same edit",
        lambda material, _: material.edits("emotion", EMOTIONS),
        card_measures.emotion,
        limit=18,
        metrics=("words", "speaker", "prosody"),
        judge="emotion",
        second=card_measures.PAIRS,
        iterations=ITERATIONS,
        baseline="resynth",
    ),
    "style": Section(
        "Style, judged by rule",
        lambda material, _: material.edits("style", STYLES),
        card_measures.style,
        limit=18,
        metrics=("words", "speaker", "prosody"),
        judge="style",
        baseline="resynth",
    ),
    "speed": Section(
        "Speed",
        lambda material, _: material.edits(
            "speed", ("faster", "more faster", "slower", "more slower")
        ),
        card_measures.speed,
        limit=18,
        metrics=("words", "speaker", "prosody"),
    ),
    "denoise": Section(
        "Denoising at 5 dB",
        lambda material, _: material.edits("denoise"),
        card_measures.denoise,
        limit=36,
        metrics=("words", "dnsmos"),
        prepare=denoise_inputs,
    ),
    "silence": Section(
        "Silence trimming",
        lambda material, _: material.edits("trim_silence"),
        card_measures.silence,
        limit=36,
        metrics=("words", "silence"),
        prepare=silence_inputs,
    ),
    "sounds": Section(
        "Non-verbal sounds",
        lambda material, context: material.sounds(context.tags),
        card_measures.sounds,
        limit=12,
        metrics=("words", "speaker"),
        judge="paralinguistic",
        baseline="resynth",
    ),
    "chinese": Section(
        "Chinese resynthesis",
        _mandarin,
        card_measures.chinese,
        limit=23,
        metrics=("words", "speaker"),
        whisper="base",
        baseline="resynth",
    ),
    "size": Section(
        "Size and speed",
        lambda material, _: material.timed(_TIMED_ROWS),
        card_measures.size,
        limit=_TIMED_ROWS,
        metrics=(),
        timed=True,
    ),
}
