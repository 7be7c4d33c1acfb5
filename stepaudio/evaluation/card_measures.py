"""Which figures each section of a model card gives, and how they are computed.

Steps are those of :mod:`stepaudio.evaluation.edit_benchmark`: ``iter0`` is the recording or the
zero-shot speech, ``resynth`` the recording taken to tokens and back, ``iter1`` the first edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from stepaudio.evaluation.benchmark_data import Row
from stepaudio.evaluation.bootstrap import Interval
from stepaudio.evaluation.card_figures import Figure, single
from stepaudio.evaluation.card_numbers import Measured
from stepaudio.evaluation.edit_benchmark import RESYNTHESIS
from stepaudio.evaluation.scoring import asked_for
from stepaudio.locate import locate

__all__ = [
    "ITERATIONS",
    "PAIRS",
    "Context",
    "by_label",
    "chinese",
    "denoise",
    "emotion",
    "resynth",
    "silence",
    "size",
    "sounds",
    "speak",
    "speed",
    "style",
    "within_nominal",
]

#: Emotion edits in a row.
ITERATIONS = 3
#: Name of the judge that hears an emotion against the recording before the edit.
PAIRS = "emotion_pairs"

_SPEED_TOLERANCE = 0.10
_SIMILARITY = "speaker:resemblyzer.similarity"


@dataclass(frozen=True)
class Context:
    """What is known of the model and of the judges.

    Attributes:
        model: folder or hub id; None is the embedded one.
        tempo: how many times as fast each speed edit should be, by its label.
        tags: sounds that can be judged.
    """

    model: str | None
    tempo: Mapping[str, float]
    tags: tuple[str, ...]


def within_nominal(ratio: float, nominal: float) -> bool:
    """Whether a tempo is within a tenth of what its label says.

    Args:
        ratio: times as fast as before.
        nominal: times as fast as it should be.

    Returns:
        True up to and including ±10 % of the nominal ratio.
    """
    return abs(ratio / nominal - 1) <= _SPEED_TOLERANCE + 1e-9


def resynth(found: Measured, context: Context) -> list[Figure]:
    """What is lost on the way to tokens and back."""
    return [
        Figure("errors_source", "word error rate, source", found.errors("iter0"), needs="words"),
        Figure("errors", "word error rate, resynthesis", found.errors(RESYNTHESIS), needs="words"),
        Figure(
            "errors_added",
            "word error rate that resynthesis adds",
            found.errors_added(RESYNTHESIS, "iter0"),
            needs="words",
        ),
        _similarity("similarity to the source", found, RESYNTHESIS),
        Figure(
            "margin",
            "… over that to the nearest other speaker",
            found.mean(RESYNTHESIS, "speaker:resemblyzer.margin_max"),
            needs="speaker",
        ),
        Figure(
            "p808_source",
            "DNSMOS P.808, source",
            found.mean("iter0", "dnsmos.p808"),
            needs="dnsmos",
        ),
        Figure(
            "p808",
            "DNSMOS P.808, resynthesis",
            found.mean(RESYNTHESIS, "dnsmos.p808"),
            needs="dnsmos",
        ),
        Figure(
            "distillmos",
            "DistillMOS, resynthesis",
            found.mean(RESYNTHESIS, "distillmos.mos"),
            needs="distillmos",
        ),
    ]


def speak(found: Measured, context: Context) -> list[Figure]:
    """Words and voice of speech from text."""
    return [
        Figure("errors", "word error rate", found.errors("iter0"), needs="words"),
        _similarity("similarity to the prompt", found, "iter0"),
        Figure("p808", "DNSMOS P.808", found.mean("iter0", "dnsmos.p808"), needs="dnsmos"),
        _ended(found, "iter0"),
    ]


def emotion(found: Measured, context: Context) -> list[Figure]:
    """Is the emotion heard, more with each edit, and what does it cost."""
    last = f"iter{ITERATIONS}"
    return [
        *_emotion_heard(found, "judge of emotion"),
        *(
            replace(one, name=f"pairs_{one.name}", title=f"{one.title}, by the judge of pairs")
            for one in _emotion_heard(found.judged_by(PAIRS), f"judge of {PAIRS}")
        ),
        Figure("errors", "word error rate, Iter3", found.errors(last), needs="words"),
        Figure(
            "errors_added",
            "word error rate that Iter3 adds to the resynthesis",
            found.errors_added(last, RESYNTHESIS),
            needs="words",
        ),
        _similarity("similarity to the source, Iter3", found, last),
        Figure(
            "similarity_change",
            "change of that similarity from the resynthesis",
            found.change(last, RESYNTHESIS, _SIMILARITY),
            needs="speaker",
        ),
        _ended(found, last),
    ]


def style(found: Measured, context: Context) -> list[Figure]:
    """Is the style there, for each style by itself."""
    judge = "judge of style"
    by_label = [
        _heard(
            f"gain_{label}",
            f"gain of Iter1 over Iter0, {label}",
            found.with_label(label).gain("iter1", "iter0"),
            judge,
        )
        for label in found.labels
    ]
    first, gain, gain_codec = _first_heard(found, judge)
    return [first, gain, *by_label, gain_codec, _errors_over_resynthesis(found)]


def speed(found: Measured, context: Context) -> list[Figure]:
    """Is the tempo what the label says."""
    nominal_known = found.where(lambda row: row.label in context.tempo)

    def within(row: Row) -> bool | None:
        ratio = found.value(row, "iter1", "prosody.tempo_ratio")
        return None if ratio is None else within_nominal(ratio, context.tempo[row.label])

    figures = [
        Figure(
            "within",
            "tempo within ±10 % of the label's ratio",
            nominal_known.share("iter1", within, needs="prosody"),
            share=True,
            digits=0,
            needs="nominal tempo",
        )
    ]
    for label in found.labels:
        nominal = context.tempo.get(label)
        of = "" if nominal is None else f" (nominal {nominal:.2f})"
        tempo = found.with_label(label).mean("iter1", "prosody.tempo_ratio")
        name = f"tempo_{label.replace(' ', '_')}"
        figures.append(Figure(name, f"tempo, {label}{of}", tempo, needs="prosody"))
    return [*figures, Figure("errors", "word error rate", found.errors("iter1"), needs="words")]


def denoise(found: Measured, context: Context) -> list[Figure]:
    """Is the background gone, and are the words still there."""
    return [
        Figure(
            "background_before",
            "DNSMOS BAK, noisy input",
            found.mean("iter0", "dnsmos.bak"),
            needs="dnsmos",
        ),
        Figure(
            "background",
            "rise of DNSMOS BAK",
            found.change("iter1", "iter0", "dnsmos.bak"),
            needs="dnsmos",
        ),
        Figure(
            "errors_before", "word error rate, noisy input", found.errors("iter0"), needs="words"
        ),
        Figure(
            "errors_added",
            "word error rate that denoising adds",
            found.errors_added("iter1", "iter0"),
            needs="words",
        ),
    ]


def silence(found: Measured, context: Context) -> list[Figure]:
    """Is the silence gone, and no word with it."""

    def before(row: Row) -> float | None:
        return found.value(row, "iter0", "silence.removable_s")

    def left(row: Row) -> float | None:
        item = found.item(row, "iter1")
        if item is not None and item.wav is None:
            return before(row)
        now = found.value(row, "iter1", "silence.removable_s")
        # Where no speech is left, nothing was trimmed that should have been.
        return before(row) if now is None and before(row) is not None else now

    def kept(row: Row) -> bool | None:
        now, was = (found.value(row, s, "words.words_left_out") for s in ("iter1", "iter0"))
        return None if now is None or was is None else now <= was

    return [
        Figure(
            "left",
            "removable silence that is left",
            found.ratio(left, before),
            share=True,
            digits=0,
            needs="silence",
        ),
        Figure(
            "no_word_lost",
            "recordings in which no further word is left out",
            found.share("iter1", kept, needs="words"),
            share=True,
            digits=0,
            needs="words",
        ),
        Figure(
            "errors_added",
            "word error rate that trimming adds",
            found.errors_added("iter1", "iter0"),
            needs="words",
        ),
    ]


def sounds(found: Measured, context: Context) -> list[Figure]:
    """Are sounds heard where they were asked for."""
    judge = "judge of paralinguistic"
    scored = {(one.row, one.step): one for one in found.scored}

    def at_place(of: Measured, step: str) -> Interval:
        return of.share(step, lambda row: asked_for(scored[row.id, step]), needs=judge)

    def share(name: str, title: str, interval: Interval) -> Figure:
        return Figure(name, title, interval, share=True, digits=0, needs=judge)

    return [
        share("at_place", "sound heard at its place", at_place(found, "iter1")),
        *(
            share(label.strip("[]"), f"… {label}", at_place(found.with_label(label), "iter1"))
            for label in found.labels
        ),
        share("chance", "… by chance, in the resynthesis", at_place(found, RESYNTHESIS)),
        _errors_over_resynthesis(found),
    ]


def chinese(found: Measured, context: Context) -> list[Figure]:
    """Are the characters still there."""
    return [
        Figure(
            "errors_source",
            "character error rate, source",
            found.errors("iter0", characters=True),
            needs="words",
        ),
        Figure(
            "errors",
            "character error rate, resynthesis",
            found.errors(RESYNTHESIS, characters=True),
            needs="words",
        ),
        _similarity("similarity to the source", found, RESYNTHESIS),
    ]


def size(found: Measured, context: Context) -> list[Figure]:
    """How large is the model, and how long does an edit take."""

    def spent(row: Row) -> float | None:
        item = found.item(row, "iter1")
        return None if item is None else item.seconds_spent

    def lasts(row: Row) -> float | None:
        item = found.item(row, "iter0")
        return None if item is None else item.seconds

    files = [file for file in locate(context.model).rglob("*") if file.is_file()]
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    return [
        Figure("megabytes", "size of the model, MB", single(megabytes), digits=1),
        Figure("seconds", "recordings timed, s", found.ratio(lasts, lambda row: 1.0), digits=1),
        Figure("rtf", "edit, seconds per second of recording", found.ratio(spent, lasts)),
    ]


def by_label(found: Measured, base: str) -> dict[str, dict[str, Interval]]:
    """What the first edit does, for each label asked for.

    Args:
        found: of a section with labels.
        base: what pitch and voicing are compared with; what tokens and decoder change anyway is
            not the edit's doing.

    Returns:
        By label and column: ``heard`` as asked, word ``errors``, ``similarity``, ``pitch`` in
        semitones and ``voiced`` share above the base, ``tempo`` over the source's.
    """
    columns = {}
    for label in found.labels:
        of = found.with_label(label)
        columns[label] = {
            "heard": of.heard("iter1"),
            "errors": of.errors("iter1"),
            "similarity": of.mean("iter1", _SIMILARITY),
            "pitch": of.change("iter1", base, "prosody.f0_shift_st"),
            "voiced": of.change("iter1", base, "prosody.voiced_share"),
            "tempo": of.mean("iter1", "prosody.tempo_ratio"),
        }
    return columns


def _emotion_heard(found: Measured, judge: str) -> list[Figure]:
    last = f"iter{ITERATIONS}"
    return [
        *_first_heard(found, judge),
        _heard("last", "heard as asked, Iter3", found.heard(last), judge),
        _heard("later", "gain of Iter3 over Iter1", found.gain(last, "iter1"), judge),
    ]


def _first_heard(found: Measured, judge: str) -> tuple[Figure, Figure, Figure]:
    """The first edit by itself, over the recording, and over the resynthesis."""
    over_recording, over_resynthesis = (
        found.gain("iter1", base) for base in ("iter0", RESYNTHESIS)
    )
    return (
        _heard("first", "heard as asked, Iter1", found.heard("iter1"), judge),
        _heard("gain", "gain of Iter1 over Iter0, the recording", over_recording, judge),
        _heard("gain_codec", "gain of Iter1 over the resynthesis", over_resynthesis, judge),
    )


def _similarity(title: str, found: Measured, step: str) -> Figure:
    return Figure("similarity", title, found.mean(step, _SIMILARITY), needs="speaker")


def _heard(name: str, title: str, interval: Interval, judge: str) -> Figure:
    return Figure(name, title, interval, share=True, digits=0, needs=judge)


def _ended(found: Measured, step: str) -> Figure:
    def ended(row: Row) -> bool:
        item = found.item(row, step)
        return item is not None and item.stop_reason == "end"

    title = "ended by itself"
    return Figure("ended", title, found.share(step, ended), share=True, digits=0)


def _errors_over_resynthesis(found: Measured) -> Figure:
    title = "word error rate that Iter1 adds to the resynthesis"
    return Figure("errors_added", title, found.errors_added("iter1", RESYNTHESIS), needs="words")
