"""Sounds found in time, and whether they are where they were asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stepaudio.audio import Audio
from stepaudio.errors import JudgeError
from stepaudio.evaluation.clip_classifier import ClipClassifier, ClipClassifierConfig
from stepaudio.evaluation.confusion import Confusion
from stepaudio.evaluation.contracts import Judge, ModelId, Sample
from stepaudio.evaluation.event_judge import OTHER, Event, EventJudge
from stepaudio.evaluation.statistics_classifier import StatisticsClassifier, StatisticsConfig

RATE = 16000
LABELS = ("[Sigh]", "[Laughter]", OTHER)
TEXT = "one two three four {} five six seven eight"


class Ear(ClipClassifier):
    """Tells tones apart by how alike samples four steps apart are: no training needed."""

    def scan(self, audio: Audio, hop: float) -> tuple[torch.Tensor, torch.Tensor]:
        size, step = RATE // 2, round(hop * RATE)
        x = audio.samples
        alike = (x[4:] * x[:-4]).unfold(0, size, step).mean(-1)
        alike = alike / x[4:].square().unfold(0, size, step).mean(-1).clamp_min(1e-6)
        scores = torch.stack([-alike, alike - 0.6, torch.full_like(alike, 0.1)], dim=-1)
        middles = (torch.arange(len(alike), dtype=torch.float64) * step + size / 2) / RATE
        return middles, (scores * 100).softmax(-1)


def judge(labels: tuple[str, ...] = LABELS) -> EventJudge:
    matrix = Confusion.of(labels, [(labels[0], labels[0])])
    return EventJudge(Ear(ClipClassifierConfig.debug(labels)), matrix, ModelId("ear", "1"))


def tone(step: float, seconds: float) -> torch.Tensor:
    return 0.2 * torch.sin(torch.arange(round(seconds * RATE)) * step)


def speech(seconds: float) -> torch.Tensor:
    return tone(0.3, seconds)


def sigh(seconds: float = 0.8) -> torch.Tensor:
    return tone(torch.pi / 4, seconds)


def laughter(seconds: float = 0.8) -> torch.Tensor:
    return tone(0.02, seconds)


def sample(*parts: torch.Tensor, text: str) -> Sample:
    return Sample("s", Audio(torch.cat(parts), RATE), text=text)


def test_events_have_times_and_labels() -> None:
    audio = Audio(torch.cat([speech(1.0), sigh(), speech(1.5), laughter(), speech(1.0)]), RATE)
    events = judge().events(audio)
    assert [event.label for event in events] == ["[Sigh]", "[Laughter]"]
    assert events[0].middle == pytest.approx(1.4, abs=0.15)
    assert events[1].middle == pytest.approx(3.7, abs=0.15)
    assert all(0.4 < event.end - event.start < 1.6 and event.score > 0.9 for event in events)
    assert judge().events(Audio(speech(3.0), RATE)) == []


def test_short_gaps_do_not_split_a_sound_and_long_ones_do() -> None:
    def count(gap: float) -> int:
        parts = [speech(1.0), sigh(), speech(gap), sigh(), speech(1.0)]
        return len(judge().events(Audio(torch.cat(parts), RATE)))

    assert count(0.1) == 1
    assert count(1.5) == 2


@pytest.mark.parametrize(
    ("before", "after", "answer"),
    [(2.0, 2.0, "3"), (2.4, 1.6, "3"), (2.8, 1.2, "2"), (4.0, 0.0, "1"), (0.0, 4.0, "1")],
)
def test_the_place_matters(before: float, after: float, answer: str) -> None:
    item = sample(speech(before), sigh(), speech(after), text=TEXT.format("[Sigh]"))
    assert judge().judge([item])[0].answer == answer


def test_a_pause_before_the_sound_does_no_harm() -> None:
    parts = [speech(2.0), torch.zeros(3 * RATE), sigh(), speech(2.0)]
    (verdict,) = judge().judge([sample(*parts, text=TEXT.format("[Sigh]"))])
    assert verdict.answer == "3"
    assert verdict.raw.startswith("[Sigh] at ")


def test_a_missing_or_a_wrong_sound_is_one() -> None:
    wrong = sample(speech(2.0), laughter(), speech(2.0), text=TEXT.format("[Sigh]"))
    none = sample(speech(4.0), text=TEXT.format("[Sigh]"))
    verdicts = judge().judge([wrong, none])
    assert [verdict.answer for verdict in verdicts] == ["1", "1"]
    assert verdicts[0].raw == "[Sigh] not heard"


def test_at_the_very_beginning_and_without_words() -> None:
    early = sample(sigh(), speech(3.0), text="[Sigh] all of the words")
    late = sample(speech(3.0), sigh(), text="[Sigh] all of the words")
    alone = sample(sigh(1.5), text="[Sigh]")
    assert [v.answer for v in judge().judge([early, late, alone])] == ["3", "1", "3"]


def test_each_sound_serves_one_tag() -> None:
    text = "a b c [Sigh] d e f [Sigh] g h i"
    one = sample(speech(1.5), sigh(), speech(3.0), text=text)
    two = sample(speech(1.5), sigh(), speech(1.5), sigh(), speech(1.5), text=text)
    assert [v.answer for v in judge().judge([one, two])] == ["2", "3"]
    found = judge().find(one)
    assert [finding.event is not None for finding in found] == [True, False]
    assert isinstance(found[0].event, Event)
    assert found[0].at_place
    assert not found[1].near


def test_what_cannot_be_judged_is_said() -> None:
    with pytest.raises(JudgeError, match=r"the text asks for \['\[Breathing\]'\]"):
        judge().judge([sample(speech(1.0), text="a [Breathing] b")])
    with pytest.raises(JudgeError, match="none of them"):
        judge().judge([sample(speech(1.0), text="plain")])
    with pytest.raises(JudgeError, match="what is no event"):
        judge(("[Sigh]", "[Laughter]"))


def test_a_saved_detector_is_a_judge(tmp_path: Path) -> None:
    ClipClassifier(ClipClassifierConfig.debug(LABELS)).save_pretrained(tmp_path / "ear")
    Confusion.of(LABELS, [(OTHER, OTHER)], speakers=["a"]).save(tmp_path / "ear")
    loaded = EventJudge.from_pretrained(tmp_path / "ear")
    assert isinstance(loaded, Judge)
    assert loaded.labels == ("1", "2", "3")
    assert "100.0% right" in loaded.model.version
    item = sample(speech(2.0), text=TEXT.format("[Sigh]"))
    assert loaded.judge([item])[0].answer in loaded.labels


def test_a_detector_may_listen_to_statistics(tmp_path: Path) -> None:
    network = StatisticsClassifier(StatisticsConfig(LABELS, hidden=4, seconds=0.5))
    torch.nn.init.zeros_(network.out.weight)
    with torch.no_grad():
        network.out.bias.copy_(torch.tensor([5.0, 0.0, 0.0]))
    network.save_pretrained(tmp_path)
    Confusion.of(LABELS, [(OTHER, OTHER)], speakers=["a"]).save(tmp_path)
    loaded = EventJudge.from_pretrained(tmp_path)
    (event,) = loaded.events(Audio(torch.cat([torch.zeros(RATE), speech(1.0)]), RATE))
    assert event.label == "[Sigh]"
    assert (event.start, event.end) == pytest.approx((1.2, 1.8), abs=0.05)
