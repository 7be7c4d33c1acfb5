"""The margin scorer: its scale, its files, what it refuses, and what is selected with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import debug_parts as debug
import numpy as np
import pytest
import torch

from recipes.margin.pairs import LABELS, pairs_of
from recipes.margin.train import main
from recipes.margin.trial import rank_interval, spearman
from stepaudio.audio import Audio
from stepaudio.data.isotonic import Isotonic
from stepaudio.data.manifest import Utterance, write_manifest
from stepaudio.data.margin import (
    MarginConfig,
    MarginScorer,
    pair_features,
    to_margin,
    voice_vector,
)
from stepaudio.data.margin_selection import CategoryCount, Thresholds, score_pairs, select_pairs
from stepaudio.data.pairs import EditPair
from stepaudio.edits import Edit
from stepaudio.errors import DataError
from stepaudio.evaluation.voice_statistics import MANNER

ROOT = Path(__file__).parents[2]


def scorer() -> MarginScorer:
    torch.manual_seed(0)
    config = replace(MarginConfig.debug(), calibration=Isotonic((0.2, 0.8), (0.0, 1.0)))
    return MarginScorer(config).eval()


def tone(hertz: float, seconds: float = 0.5) -> Audio:
    time = torch.arange(round(seconds * 16000)) / 16000
    hum = sum(torch.sin(2 * torch.pi * hertz * n * time) / n for n in (1, 2, 3))
    return Audio(0.2 * torch.as_tensor(hum), 16000)


def test_shares_of_listeners_are_margins_from_one_to_ten() -> None:
    assert to_margin(np.array([0.0, 5 / 9, 1.0, 1.2])).tolist() == [1.0, 6.0, 10.0, 10.0]


def test_a_pair_is_read_as_its_difference() -> None:
    before, after = np.zeros((2, MANNER + 1)), np.ones((2, MANNER + 1))
    features = pair_features(before, after)
    assert features.shape == (2, 2 * (MANNER + 1))
    assert not pair_features(after, after)[:, : MANNER + 1].any()
    # The last number of a voice is how long it speaks.
    assert voice_vector(tone(200, 1.0))[-1] - voice_vector(tone(200, 0.5))[-1] == pytest.approx(
        np.log(2), abs=0.05
    )


def test_a_scorer_comes_back_with_its_calibration(tmp_path: Path) -> None:
    first = scorer()
    again = MarginScorer.from_pretrained(first.save_pretrained(tmp_path / "scorer"))
    assert again.config == first.config
    pair = tone(150), tone(250)
    assert again.score(*pair, "emotion:sad") == first.score(*pair, "emotion:sad")
    assert 1.0 <= first.score(*pair, "emotion:sad") <= 10.0


def test_what_nobody_rated_is_refused() -> None:
    with pytest.raises(DataError, match=r"cannot rate 'style:whisper'.*emotion:happy, emotion:sad"):
        scorer().score(tone(150), tone(250), "style:whisper")
    with pytest.raises(ValueError, match="labels must be there and differ"):
        MarginConfig(("emotion:happy", "emotion:happy"))


def test_where_nothing_changed_there_is_no_margin_whatever_is_heard() -> None:
    rater = MarginScorer.embedded()
    assert list(rater.config.labels) == list(LABELS.values())
    heard = np.stack([voice_vector(debug.speech(1.5)), voice_vector(tone(180))])
    margins = rater.score_vectors(heard, heard)
    assert margins.max() < 2.0
    assert np.array_equal(margins[0], margins[1])


def test_the_report_of_the_embedded_scorer_says_what_it_was_trained_on() -> None:
    report = json.loads((ROOT / "docs" / "results" / "margin.json").read_text("utf-8"))
    assert report["trained_on"]["sets"] == ["emodb"]
    rank = report["held_out"]["rank_all_labels"]
    assert rank["low"] < rank["value"] < rank["high"]
    assert set(report["held_out"]["rank_by_label"]) == set(MarginScorer.embedded().config.labels)


# --- selection -------------------------------------------------------------------------------


def pair(edit: Edit, margin: float | None) -> EditPair:
    return EditPair(edit, "a", "b", margin=margin)


def test_six_is_kept_and_less_is_not() -> None:
    happy, sad, low = Edit.emotion("happy"), Edit.emotion("sad"), Edit.style("whisper")
    given = [pair(happy, 6.0), pair(happy, 5.999), pair(sad, 7.9), pair(sad, 8.0), pair(low, None)]
    given += [pair(Edit.speed("faster"), None)]
    kept, counts = select_pairs(given, Thresholds(by_category={"emotion:sad": 8.0}))
    assert kept == [given[0], given[3], given[5]]
    assert counts == {
        "emotion:happy": CategoryCount(6.0, kept=1, below=1),
        "emotion:sad": CategoryCount(8.0, kept=1, below=1),
        "style:whisper": CategoryCount(6.0, unrated=1),
        # The large-margin rule is for emotions and styles only.
        "speed:faster": CategoryCount(None, kept=1),
    }


def test_a_margin_that_is_no_number_is_never_kept() -> None:
    kept, counts = select_pairs([pair(Edit.emotion("happy"), float("nan"))])
    assert not kept
    assert counts == {"emotion:happy": CategoryCount(6.0, unrated=1)}


def test_no_category_may_have_less_than_the_floor() -> None:
    with pytest.raises(DataError, match=r"emotion:sad is 5\.0; it must lie between the floor 6\.0"):
        Thresholds(by_category={"emotion:sad": 5.0})
    with pytest.raises(DataError, match="the floor is 11"):
        Thresholds(floor=11)


def test_pairs_are_rated_where_they_can_be(tmp_path: Path) -> None:
    tone(150).save(tmp_path / "a.wav")
    tone(250).save(tmp_path / "b.wav")
    tone(250, 0.1).save(tmp_path / "short.wav")
    rows = [Utterance(name, str(tmp_path / f"{name}.wav")) for name in ("a", "b", "short")]
    given = [
        EditPair(Edit.emotion("happy"), "a", "b"),
        EditPair(Edit.emotion("happy"), "a", "short"),
        EditPair(Edit.speed("faster"), "a", "gone"),
    ]
    found = score_pairs(given, rows, scorer())
    expected = scorer().score(tone(150), tone(250), "emotion:happy")
    # 16-bit files differ a little from the tones in memory.
    assert found[0].margin == pytest.approx(expected, abs=0.05)
    assert [one.margin for one in found[1:]] == [None, None]
    with pytest.raises(DataError, match="'gone', which is not in the manifest"):
        score_pairs([EditPair(Edit.emotion("sad"), "a", "gone")], rows, scorer())


# --- the recipe ------------------------------------------------------------------------------


def rated(key: str, emotion: str, percent: float, speaker: str = "s", text: str = "1") -> Utterance:
    ratings = {"recognised_pct": percent}
    return Utterance(key, key, speaker, emotion=emotion, text_id=text, ratings=ratings)


def test_targets_are_what_more_listeners_hear() -> None:
    rows = [
        rated("n", "neutral", 90),
        rated("h", "happy", 80),
        rated("H", "happy", 100, text="2"),
        rated("x", "sad", 100, "t"),
    ]
    pairs = pairs_of(rows)
    found = {
        (rows[a].id, rows[b].id): dict(zip(LABELS, target.tolist(), strict=True))
        for a, b, target in zip(pairs.before, pairs.after, pairs.targets, strict=True)
    }
    assert set(found) == {(a, b) for a in "nhH" for b in "nhH" if a != b}
    assert found["n", "h"]["happy"] == pytest.approx(0.8)
    assert found["h", "n"]["neutral"] == pytest.approx(0.9)
    assert found["h", "H"]["happy"] == pytest.approx(0.2)
    assert found["H", "h"]["happy"] == 0.0
    assert sum(found["n", "h"].values()) == pytest.approx(0.8)
    assert pairs.same_text.tolist() == [rows[a].text_id == rows[b].text_id for a, b in
                                        zip(pairs.before, pairs.after, strict=True)]  # fmt: skip


def test_ranks_have_an_interval_over_speakers() -> None:
    speakers = np.repeat(["a", "b", "c"], 20)
    scores = np.arange(60.0)
    # By hand: 1 - 6 * (1 + 1) / (3 * 8).
    assert spearman(np.array([1.0, 2.0, 3.0]), np.array([2.0, 1.0, 3.0])) == pytest.approx(0.5)
    assert spearman(scores, np.zeros(60)) is None
    assert rank_interval(scores, scores, speakers).value == pytest.approx(1.0)
    mixed = rank_interval(scores, np.where(speakers == "c", -scores, scores), speakers)
    assert mixed.low is not None
    assert mixed.high is not None
    assert mixed.value is not None
    assert mixed.low <= mixed.value <= mixed.high
    alone = rank_interval(scores[:20], scores[:20], speakers[:20])
    assert (alone.low, alone.high, alone.speakers) == (None, None, 1)


def test_the_recipe_trains_measures_and_refuses_evaluation_data(tmp_path: Path) -> None:
    hertz = {"neutral": 120.0, "happy": 260.0, "sad": 90.0}
    rows = []
    for number in range(3):
        for emotion, pitch in hertz.items():
            key = f"{number}{emotion}"
            tone(pitch * (1 + 0.05 * number), 0.4).save(tmp_path / f"{key}.wav")
            row = rated(key, emotion, 90.0, f"s{number}")
            rows.append(replace(row, path=str(tmp_path / f"{key}.wav"), set="tones"))
    manifest = write_manifest(tmp_path / "manifest.jsonl", rows)
    main([str(manifest), "-o", str(tmp_path / "out"), "--steps", "40"])
    report = json.loads((tmp_path / "out" / "margin.json").read_text())
    assert report["trained_on"]["pairs"] == 3 * 3 * 2
    assert report["held_out"]["right_label"]["value"] == 1.0
    model = MarginScorer.from_pretrained(tmp_path / "out" / "model")
    assert model.score(tone(120, 0.4), tone(260, 0.4), "emotion:happy") > 6.0
    assert model.score(tone(120, 0.4), tone(260, 0.4), "emotion:sad") < 6.0
    write_manifest(manifest, [*rows, replace(rows[0], id="x", train_ok=False)], force=True)
    with pytest.raises(DataError, match="x is not licensed for training"):
        main([str(manifest), "-o", str(tmp_path / "other")])
