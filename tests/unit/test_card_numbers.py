"""Figures of a model card, worked by hand; what cannot be measured is never zero."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepaudio.evaluation.benchmark_data import Row
from stepaudio.evaluation.bootstrap import Interval
from stepaudio.evaluation.card_figures import TARGETS, Figure, Target
from stepaudio.evaluation.card_measures import PAIRS, Context, by_label, within_nominal
from stepaudio.evaluation.card_numbers import Measured
from stepaudio.evaluation.card_sections import EMOTIONS, SECTIONS, STYLES
from stepaudio.evaluation.card_slices import by_group, groups
from stepaudio.evaluation.edit_benchmark import Item
from stepaudio.evaluation.recordings import Recording
from stepaudio.evaluation.scoring import Scored

SPEEDS = ("faster", "more faster", "slower", "more slower")
TEMPO = {"faster": 1.3, "more faster": 1.6, "slower": 0.77, "more slower": 0.63}
CONTEXT = Context(None, TEMPO, ("[Sigh]",))
# Six words each.
WORDS = "one two three four five six"


class Bench:
    """Rows, and what was made and measured of them by some instruments, step by step."""

    def __init__(self, *instruments: str) -> None:
        self.instruments = instruments
        self.rows: list[Row] = []
        self.items: list[Item] = []
        self.scored: list[Scored] = []
        self.second: list[Scored] = []

    def row(self, speaker: str, task: str = "speed", label: str = "faster") -> str:
        name = f"{len(self.rows)}"
        row = Row(name, name, task, label, speaker, "en", WORDS, "here", recording=Path("a.wav"))
        self.rows.append(row)
        return name

    def made(self, row: str, step: str, answer: str | None = None, **values: float | None) -> None:
        (of,) = (one for one in self.rows if one.id == row)
        self.items.append(Item(row, step, "a.wav", 0, 2.0, 1.0, "end"))
        named = {name.replace("__", "."): value for name, value in values.items()}
        self.scored.append(
            Scored(row, step, of.task, of.label, "en", of.speaker, True, answer, named)
        )

    def heard_again(self, row: str, step: str, answer: str) -> None:
        """By the judge that compares with the recording."""
        (of,) = (one for one in self.rows if one.id == row)
        self.second.append(Scored(row, step, PAIRS, of.label, "en", of.speaker, True, answer))

    def failed(self, row: str, step: str) -> None:
        (of,) = (one for one in self.rows if one.id == row)
        self.items.append(Item(row, step, None, 0, error="EditError: no"))
        self.scored.append(Scored(row, step, of.task, of.label, "en", of.speaker, False))

    def measured(self) -> Measured:
        second = {PAIRS: self.second}
        return Measured(self.rows, self.items, self.scored, self.instruments, 0, second)


def spoken(errors: float, left_out: float = 0.0) -> dict[str, float]:
    return {
        "words__word_errors": errors,
        "words__words": 6.0,
        "words__words_left_out": left_out,
    }


def figures(section: str, bench: Bench) -> dict[str, float | None]:
    found = SECTIONS[section].figures(bench.measured(), CONTEXT)
    return {one.name: one.interval.value for one in found}


def test_failing_twice_does_not_add_nothing() -> None:
    bench = Bench("words")
    one, other = bench.row("a"), bench.row("b")
    bench.failed(one, "resynth")
    bench.failed(one, "iter3")
    bench.made(other, "resynth", **spoken(1))
    bench.made(other, "iter3", **spoken(4))
    assert bench.measured().errors_added("iter3", "resynth").value == (6 + 3) / 12


def test_targets_are_met_up_to_the_bound() -> None:
    assert Target("at most", 0.1).met(0.3 - 0.2)
    assert not Target("at most", 0.1).met(0.11)
    assert Target("at least", 0.6).met(0.6)
    assert not Target("at least", 0.6).met(0.59)
    assert Target("at least", 0.6).met(None) is None


@pytest.mark.parametrize(
    ("ratio", "inside"), [(1.17, True), (1.43, True), (1.16, False), (1.44, False)]
)
def test_speeds_may_be_a_tenth_off(ratio: float, inside: bool) -> None:
    assert within_nominal(ratio, 1.3) is inside


def test_a_recording_that_failed_has_every_word_wrong() -> None:
    bench = Bench("words")
    for speaker, before, now in (("a", 0.0, 2.0), ("b", 1.0, 1.0)):
        row = bench.row(speaker)
        bench.made(row, "iter0", **spoken(before))
        bench.made(row, "iter1", **spoken(now))
    lost = bench.row("b")
    bench.made(lost, "iter0", **spoken(0.0))
    bench.failed(lost, "iter1")
    found = bench.measured()
    assert found.errors("iter0").value == 1 / 18
    assert found.errors("iter1").value == (2 + 1 + 6) / 18
    assert found.errors_added("iter1", "iter0").value == (2 + 0 + 6) / 18
    assert found.share("iter1", lambda row: True).value == 2 / 3
    assert found.mean("iter1", "words.words").n == 2


def test_speed() -> None:
    bench = Bench("prosody")
    for speaker, label, tempo in (
        ("a", "faster", 1.35),
        ("b", "faster", 1.0),
        ("a", "more slower", 0.6),
        ("b", "more slower", None),
    ):
        bench.made(bench.row(speaker, "speed", label), "iter1", prosody__tempo_ratio=tempo)
    told = figures("speed", bench)
    assert told["within"] == 2 / 3
    assert told["tempo_faster"] == 1.175
    assert told["tempo_more_slower"] == 0.6
    assert told["errors"] is None


def test_emotion_gains_over_the_recording_and_the_resynthesis() -> None:
    bench = Bench("words", "judge of emotion")
    heard = {
        "a": ("neutral", "sad", "sad", "sad", "sad"),
        "b": ("neutral", "neutral", "happy", "sad", "sad"),
    }
    for speaker, answers in heard.items():
        row = bench.row(speaker, "emotion", "sad")
        steps = ("iter0", "resynth", "iter1", "iter2", "iter3")
        for number, (step, answer) in enumerate(zip(steps, answers, strict=True)):
            voice = {"speaker:resemblyzer__similarity": 1.0 - number / 10}
            bench.made(row, step, answer, **spoken(number), **voice)
    told = figures("emotion", bench)
    assert (told["first"], told["gain"], told["gain_codec"]) == (0.5, 0.5, 0.0)
    assert (told["last"], told["later"]) == (1.0, 0.5)
    assert told["errors_added"] == (4 - 1) / 6
    assert told["similarity_change"] == pytest.approx(-0.3)
    assert told["ended"] == 1.0


def test_a_second_judge_tells_the_same_figures_and_changes_none() -> None:
    bench = Bench("judge of emotion", f"judge of {PAIRS}")
    # The first judge never hears anything; the other hears Ann's edits, and Bob's after the third.
    heard = {"a": ("natural", "natural", "sad", "sad"), "b": ("natural", "sad", "happy", "sad")}
    for speaker, answers in heard.items():
        row = bench.row(speaker, "emotion", "sad")
        for step, answer in zip(("iter0", "resynth", "iter1", "iter3"), answers, strict=True):
            bench.made(row, step, "natural")
            bench.heard_again(row, step, answer)
    found = SECTIONS["emotion"].figures(bench.measured(), CONTEXT)
    told = {one.name: one.interval.value for one in found}
    names = ("first", "gain", "gain_codec", "last", "later")
    assert [told[name] for name in names] == [0.0] * 5
    assert [told[f"pairs_{name}"] for name in names] == [0.5, 0.5, 0.0, 1.0, 0.5]
    for name in ("gain", "last", "later"):
        assert TARGETS[f"emotion.pairs_{name}"] == TARGETS[f"emotion.{name}"]
    voices = [voice("a", "f"), voice("b", "m")]
    emotion = SECTIONS["emotion"].figures
    parts = by_group("emotion", bench.measured(), CONTEXT, emotion, voices)
    gains = {
        name: next(one["value"] for one in of["figures"] if one["name"] == "pairs_gain")
        for name, of in parts.items()
    }
    assert gains == {"gender f": 1.0, "gender m": 0.0}


def test_nobody_hears_for_a_second_judge_that_is_not_there() -> None:
    bench = Bench("judge of emotion")
    row = bench.row("a", "emotion", "sad")
    for step in ("iter0", "resynth", "iter1", "iter3"):
        bench.made(row, step, "sad")
    found = {one.name: one for one in SECTIONS["emotion"].figures(bench.measured(), CONTEXT)}
    assert found["last"].interval.value == 1.0
    plain = found["pairs_last"].plain("emotion", {f"judge of {PAIRS}": "none was asked for"})
    assert (plain["value"], plain["met"], plain["missing"]) == (None, None, "none was asked for")


def test_styles_each_by_itself() -> None:
    bench = Bench("judge of style")
    for label, answer in (("whisper", "whisper"), ("child", "unchanged")):
        row = bench.row("a", "style", label)
        bench.made(row, "iter0", "unchanged")
        bench.made(row, "resynth", "unchanged")
        bench.made(row, "iter1", answer)
    told = figures("style", bench)
    assert (told["gain_whisper"], told["gain_child"], told["gain"]) == (1.0, 0.0, 0.5)


def test_silence() -> None:
    bench = Bench("silence", "words")
    for before, after, lost in ((2.0, 0.2, 0.0), (2.0, None, 6.0), (1.0, 0.0, 0.0)):
        row = bench.row("a", "trim_silence", "")
        bench.made(row, "iter0", silence__removable_s=before, **spoken(1.0, 1.0))
        bench.made(row, "iter1", silence__removable_s=after, **spoken(1.0, 1.0 + lost))
    gone = bench.row("b", "trim_silence", "")
    bench.made(gone, "iter0", silence__removable_s=3.0, **spoken(0.0))
    bench.failed(gone, "iter1")
    told = figures("silence", bench)
    # Neither a recording without speech nor one that failed was trimmed.
    assert told["left"] == (0.2 + 2.0 + 0.0 + 3.0) / 8
    assert told["no_word_lost"] == 2 / 4


def test_sounds_at_their_place_and_by_chance() -> None:
    bench = Bench("judge of paralinguistic")
    for resynth, edited in (("1", "3"), ("3", "2")):
        row = bench.row("a", "paralinguistic", "[Sigh]")
        bench.made(row, "resynth", resynth)
        bench.made(row, "iter1", edited)
    told = figures("sounds", bench)
    assert (told["at_place"], told["Sigh"], told["chance"]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("failing", [5, 6])
def test_styles_that_fail_count_as_not_heard(failing: int) -> None:
    bench = Bench("words", "judge of style")
    for number in range(6):
        for label in ("whisper", "child"):
            row = bench.row("abc"[number % 3], "style", label)
            # One whisper is in the recordings already, and lost where the edit fails.
            before = "whisper" if (number, label) == (0, "whisper") else "unchanged"
            for step in ("iter0", "resynth"):
                bench.made(row, step, before, **spoken(0.0))
            if label == "whisper" and number < failing:
                bench.failed(row, "iter1")
            else:
                bench.made(row, "iter1", label, **spoken(0.0))
    told = figures("style", bench)
    kept = (6 - failing) / 6
    assert told["gain_whisper"] == pytest.approx(kept - 1 / 6)
    assert told["gain_child"] == 1.0
    assert told["first"] == pytest.approx((kept + 1) / 2)
    assert told["errors_added"] == failing / 12
    whispered = by_label(bench.measured(), "resynth")["whisper"]
    assert (whispered["heard"].value, whispered["heard"].n) == (pytest.approx(kept), 6)
    assert whispered["errors"].value == failing / 6


def test_a_section_that_fails_altogether_is_missed_and_not_unknown() -> None:
    tasks = {
        "speak": ("", ""),
        "emotion": ("emotion", "sad"),
        "style": ("style", "whisper"),
        "speed": ("speed", "faster"),
        "silence": ("trim_silence", ""),
        "sounds": ("paralinguistic", "[Sigh]"),
    }
    lost = {
        "speak": {"errors": 1.0, "ended": 0.0},
        "emotion": {"first": 0.0, "gain": -0.5, "last": 0.0, "errors": 1.0, "ended": 0.0},
        "style": {"first": 0.0, "gain": -0.5, "gain_whisper": -0.5, "errors_added": 1.0},
        "speed": {"within": 0.0, "errors": 1.0},
        "silence": {"left": 1.0, "no_word_lost": 0.0, "errors_added": 1.0},
        "sounds": {"at_place": 0.0, "Sigh": 0.0, "errors_added": 1.0},
    }
    for name, (task, label) in tasks.items():
        bench = Bench("words", "prosody", "silence", f"judge of {task}")
        for speaker, answer in (("a", label), ("b", "other")):
            row = bench.row(speaker, task, label)
            if name == "speak":
                bench.failed(row, "iter0")
                continue
            for step in ("iter0", "resynth"):
                bench.made(row, step, answer, silence__removable_s=1.0, **spoken(0.0))
            for step in ("iter1", "iter2", "iter3"):
                bench.failed(row, step)
        found = SECTIONS[name].figures(bench.measured(), CONTEXT)
        told = {one.name: one for one in found if one.name in lost[name]}
        assert {key: one.interval.value for key, one in told.items()} == lost[name]
        met = [told[key].plain(name, {})["met"] for key in told if f"{name}.{key}" in TARGETS]
        assert set(met) == {False}
        # Nobody is to blame where nobody listened.
        bench.instruments = ()
        unheard = SECTIONS[name].figures(bench.measured(), CONTEXT)
        values = {one.name: one.interval.value for one in unheard if one.name in lost[name]}
        assert {key for key, value in values.items() if value is not None} <= {"ended", "left"}


def test_a_speed_without_a_nominal_tempo_cannot_be_missed() -> None:
    bench = Bench("prosody")
    for label, tempo in (("faster", 1.3), ("slower", None)):
        row = bench.row("a", "speed", label)
        if tempo is None:
            bench.failed(row, "iter1")
        else:
            bench.made(row, "iter1", prosody__tempo_ratio=tempo)
    within, *_ = SECTIONS["speed"].figures(bench.measured(), Context(None, {"faster": 1.3}, ()))
    assert (within.interval.value, within.interval.n) == (1.0, 1)


def voice(speaker: str, gender: str = "", accent: str = "") -> Recording:
    return Recording(speaker, Path("a.wav"), "here", speaker=speaker, gender=gender, accent=accent)


def test_for_whom_an_edit_works() -> None:
    bench = Bench("prosody", "words")
    for speaker, tempo, errors in (("a", 1.3, 0.0), ("b", 1.3, 3.0), ("b", 1.0, 3.0), ("c", 9, 6)):
        row = bench.row(speaker)
        bench.made(row, "iter1", prosody__tempo_ratio=tempo, **spoken(errors))
    voices = [voice("a", "f"), voice("b", "m", "zh"), voice("c")]
    told = by_group("speed", bench.measured(), CONTEXT, SECTIONS["speed"].figures, voices)
    shown = {
        name: (of["rows"], of["speakers"], {one["name"]: one["value"] for one in of["figures"]})
        for name, of in told.items()
    }
    # Tempo has no target and is left out; c's gender is nobody's business, her accent is not noted.
    assert shown == {
        "gender f": (1, 1, {"within": 1.0, "errors": 0.0}),
        "gender m": (2, 1, {"within": 0.5, "errors": 0.5}),
        "accent not noted": (2, 2, {"within": 0.5, "errors": 0.5}),
        "accent zh": (2, 1, {"within": 0.5, "errors": 0.5}),
    }
    # Nobody to compare with.
    assert groups(bench.rows, [voice("a", "f"), voice("b", "f")]) == {}


def test_denoise_and_size() -> None:
    bench = Bench("dnsmos", "words")
    row = bench.row("a", "denoise", "")
    bench.made(row, "iter0", dnsmos__bak=2.0, **spoken(3.0))
    bench.made(row, "iter1", dnsmos__bak=3.5, **spoken(2.0))
    told = figures("denoise", bench)
    assert (told["background"], told["errors_added"]) == (1.5, -1 / 6)
    timed = figures("size", bench)
    assert timed["rtf"] == 0.5
    assert timed["megabytes"] is not None
    assert timed["megabytes"] > 1


def test_what_nobody_measured_is_missing_and_never_zero() -> None:
    labels = {"emotion": EMOTIONS, "style": STYLES, "speed": SPEEDS, "sounds": ("[Sigh]",)}
    tasks = {"sounds": "paralinguistic", "denoise": "denoise", "silence": "trim_silence"}
    names = set()
    for name, section in SECTIONS.items():
        bench = Bench()
        for label in labels.get(name, ("",)):
            row = bench.row("a", tasks.get(name, name if name in labels else ""), label)
            for step in ("iter0", "resynth", "iter1", "iter3"):
                bench.made(row, step)
        for figure in section.figures(bench.measured(), CONTEXT):
            names.add(f"{name}.{figure.name}")
            plain = figure.plain(name, {figure.needs: "no such package"} if figure.needs else {})
            if figure.needs:
                assert plain["value"] is None, figure.title
                assert plain["met"] is None
                assert plain["missing"] == "no such package"
    assert set(TARGETS) <= names


def test_a_figure_says_whether_its_target_is_met() -> None:
    found = Interval(0.123456, 0.1, None, 7, 2)
    plain = Figure("errors_added", "added", found).plain("resynth", {})
    assert (plain["value"], plain["low"], plain["high"], plain["n"]) == (0.1235, 0.1, None, 7)
    assert plain["target"] == {"sense": "at most", "bound": 0.1}
    assert plain["met"] is False
    assert Figure("other", "other", found).plain("resynth", {})["target"] is None
