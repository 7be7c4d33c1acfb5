"""Rows of the trainings on small fakes: moments looked at, edits, words in a given voice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recipes.nano import lm_rows, train_flow
from recipes.nano.compare_lm import grouped_batch
from recipes.nano.guidance import GUIDED_HEAD, misplaced, token_times
from recipes.nano.lm_pairs import pairs_of
from recipes.nano.lm_rows import LONGEST, UNIT
from stepaudio.edits import Edit
from stepaudio.lm.alibi import alibi_slopes
from stepaudio.lm.grouped import GroupedConfig, GroupedLM
from stepaudio.lm.step1 import Attention, Step1Config
from stepaudio.tokenizers.text import EOT
from stepaudio.tokenizers.text_training import train_text_tokenizer
from stepaudio.types import SpeechTokens, TokenSpec

SPEC = TokenSpec(8, 16)


class Fakes:
    """Feature folders by name; recordings of a given length whose tokens count its units."""

    def __init__(self, folders: dict[str, list[dict[str, Any]]]) -> None:
        self.folders = folders

    def features(self, folder: str | Path) -> Any:
        return FakeFeatures(self.folders[str(folder)])

    def codes(self, folder: str | Path) -> Any:
        return FakeCodes(self.folders[str(folder)])


class FakeFeatures:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def get(self, item: int, kind: str, start: float = 0.0, seconds: float = 99.0) -> torch.Tensor:
        frames = round(min(seconds, self.rows[item]["units"] * UNIT - start) * 50)
        # Every frame knows the recording and the moment.
        return torch.stack(
            [torch.full((frames,), float(item)), start + torch.arange(frames) / 50], 1
        )


class FakeCodes:
    spec = SPEC

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def units(self, item: int) -> int:
        return int(self.rows[item]["units"])

    def tokens(self, item: int, start: int = 0, units: int | None = None) -> SpeechTokens:
        count = self.units(item) - start if units is None else min(units, self.units(item) - start)
        return SpeechTokens(
            torch.arange(2 * count) % SPEC.linguistic_size,
            torch.arange(3 * count) % SPEC.semantic_size,
            SPEC,
        )

    def speaker(self, item: int) -> torch.Tensor:
        return torch.tensor([float(item)])


def row(key: str, units: int, text: str = "one two", **more: Any) -> dict[str, Any]:
    plain = {"id": key, "units": units, "text": text, "speaker": "s", "lang": "en"}
    return plain | {"change": "none", "source": "", "labels": None} | more


def fake(monkeypatch: pytest.MonkeyPatch, *rows: dict[str, Any]) -> Fakes:
    fakes = Fakes({"f": list(rows)})
    for module in (lm_rows, train_flow):
        monkeypatch.setattr(module, "Features", fakes.features)
        monkeypatch.setattr(module, "Codes", fakes.codes)
    return fakes


#: A sound of 3 s was put in at 1.2 s: what follows is 3 s later than before.
SOUND = {"times": [[0, 0], [1.2, 1.2], [1.2, 4.2], [4.8, 7.8]]}


def test_a_prompt_before_an_edit_holds_the_words_of_the_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    longer = row("a-s", 65, change="paralinguistic:[Sigh]", source="a", labels=SOUND)
    fake(monkeypatch, row("a", 40), longer)
    rows = train_flow.Rows(["f"])
    ((voice, line),) = rows.before[0, 1]
    rng = np.random.default_rng(0)
    for start in (36, 45, 50):
        first, count = rows._said_before(line, voice, start, 12, rng)
        # At a constant rate it would begin up to 1.7 s (14 units) early, with other words.
        assert first <= start - 25 <= first + 2
        assert first + count >= start - 25 + 12
    # Nobody knows the times: as much of the voice, anywhere.
    first, count = rows._said_before(None, voice, 45, 12, rng)
    assert 0 <= first <= 28
    assert count == 12


def test_denoising_decodes_the_clean_recording_in_the_noisy_voice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = {"times": [[0, 0], [4.8, 4.8]]}
    fake(monkeypatch, row("a", 40), row("a-noisy", 40, change="noisy", source="a", labels=times))
    rows = train_flow.Rows(["f"])
    assert set(rows.before) == {(0, 0)}
    assert rows.before[0, 0][0][0] == (0, 1)


def test_flow_rows_of_one_kind_of_voice_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("a", "syn00001"):  # once no synthetic ones, once nothing else
        changed = row(f"{key}-x", 30, change="style:child", source=key)
        fake(monkeypatch, row(key, 30), changed)
        rows, rng = train_flow.Rows(["f"]), np.random.default_rng(0)
        for _ in range(40):
            drawn = rows.draw(rng, 12)
            assert len(drawn.mel) == 2 * len(drawn.pairs)
            assert drawn.prompt_frames < len(drawn.mel)
    fake(monkeypatch, row("short", 3))
    with pytest.raises(ValueError, match="long enough"):
        train_flow.Rows(["f"])


def pairs(*rows: dict[str, Any]) -> list[Any]:
    return list(pairs_of(0, FakeFeatures(list(rows)), FakeCodes(list(rows))))  # type: ignore[arg-type]


def test_a_sound_is_put_in_and_never_taken_away_as_a_style() -> None:
    longer = row(
        "a-s", 65, "ONE [Sigh] TWO", change="paralinguistic:[Sigh]", source="a", labels=SOUND
    )
    (pair,) = pairs(row("a", 40), longer)
    assert pair.edit == Edit.paralinguistic("ONE [Sigh] TWO")
    assert (pair.before, pair.after, pair.text, pair.croppable) == (0, 1, "one two", False)
    assert pair.line.to_source([7.8])[0] == pytest.approx(4.8)


def test_noise_and_silence_are_what_the_editor_hears() -> None:
    even = {"times": [[0, 0], [4.8, 4.8]]}
    (noisy,) = pairs(row("a", 40), row("n", 40, change="noisy", source="a", labels=even))
    assert (noisy.edit, noisy.before, noisy.after) == (Edit.denoise(), 1, 0)
    (paused,) = pairs(row("a", 40), row("p", 65, change="paused", source="a", labels=SOUND))
    assert (paused.edit, paused.before, paused.after) == (Edit.trim_silence(), 1, 0)
    assert paused.line.to_source([4.8])[0] == pytest.approx(7.8)
    less = {"times": [[0, 0], [3, 0], [4.8, 1.8]]}
    (short,) = pairs(row("a", 40), row("t", 15, change="trimmed", source="a", labels=less))
    assert (short.before, short.after) == (0, 1)
    there, back = pairs(row("a", 40), row("h", 20, change="emotion:happy", source="a"))
    assert (there.edit, back.edit) == (Edit.emotion("happy"), Edit.remove("emotion"))
    # Acted by a person: nobody knows which moment was which.
    assert not there.croppable
    assert there.line is None


WORDS = {
    "phones": [[0, 0.36], [3, 1.2], [4, 0.6], [0, 0.24], [5, 1.2]],
    "words": [["one", 1], ["two", 1], ["three", 1]],
}


def spoken_rows(monkeypatch: pytest.MonkeyPatch, speech: float) -> lm_rows.Rows:
    fake(
        monkeypatch,
        row("a", 30, "one two three", labels=WORDS),
        row("b", 20, "four five"),
        row("a-f", 23, "one two three", change="speed:faster", source="a",
            labels={"times": [[0, 0], [3.6, 2.77]]} | WORDS),
    )  # fmt: skip
    return lm_rows.Rows(["f"], speech)


def test_edit_rows_look_at_the_moment_that_is_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, rng = spoken_rows(monkeypatch, 0.0), np.random.default_rng(0)
    for _ in range(30):
        drawn = rows.draw(rng, 10)
        assert len(drawn.times) == drawn.begin
        assert drawn.learned.tolist() == list(range(drawn.begin, len(drawn.ids) - 1))
        assert len(drawn.wanted) == len(drawn.learned)
        heard = drawn.times[drawn.times.isfinite()]
        assert torch.equal(heard, token_times(torch.arange(len(heard))).float())
        assert len(heard) <= 10 * 5
        # 1.3 units of the source go into each, and the stretch ends where the target does.
        steps = drawn.wanted[5:] - drawn.wanted[:-5]
        assert torch.allclose(steps, torch.full_like(steps, 3.6 / 2.77), atol=0.01)
        assert float(drawn.wanted[-1]) == pytest.approx(float(heard[-1]), abs=1.5)


def test_recordings_of_one_voice_are_said_one_after_the_other_before_the_same_edit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recordings = []
    for key, words in (("a", "one two"), ("b", "three"), ("c", "four five")):
        times = {"times": [[0, 0], [2.4, 1.8]]}
        recordings.append(row(key, 20, words))
        recordings.append(
            row(f"{key}-f", 15, words, change="speed:faster", source=key, labels=times)
        )
    other = row("d", 20, "nobody", speaker="t")
    faster = row("d-f", 15, "nobody", speaker="t", change="speed:faster", source="d")
    fake(monkeypatch, *recordings, other, faster)
    rows, rng = lm_rows.Rows(["f"], 0.0), np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        drawn = rows.draw_edit(rng, 60)
        prompt = rows.text.decode(drawn.ids[: drawn.begin])
        said = prompt.split("corresponding to the audio is: ")[1].split("\n")[0]
        heard = drawn.times[drawn.times.isfinite()]
        seen.add(len(heard) // 5)
        # Nothing is said twice, and nobody speaks after somebody else.
        whole = said.replace("one two", "A").replace("four five", "C").split()
        assert len(set(whole)) == len(whole)
        assert said == "nobody" or "nobody" not in said
        assert torch.equal(heard, token_times(torch.arange(len(heard))).float())
        if said != "nobody":
            # Three quarters as long, and the last moment of the target is the source's last.
            assert len(drawn.wanted) == pytest.approx(0.75 * len(heard), abs=10)
            assert float(drawn.wanted[-1]) == pytest.approx(float(heard[-1]), abs=1.5)
            assert (drawn.wanted.diff() > -2).all()
    assert min(seen) <= 20
    assert max(seen) > 48


def test_speech_rows_ask_for_words_in_the_voice_of_another_recording(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, rng = spoken_rows(monkeypatch, 1.0), np.random.default_rng(0)
    texts = set()
    for _ in range(40):
        drawn = rows.draw(rng, 30)
        prompt = rows.text.decode(drawn.ids[: drawn.begin])
        said = prompt.split("human\n")[-1].split("<|EOT|>")[0]
        sample = prompt.split("speaker prompt text: \n")[1].split("\n")[0]
        texts.add(said)
        # Of the voice a stretch is enough.
        if said == "four five":
            assert sample in "one two three"
        else:
            assert (said, sample) == ("one two three", "four five")
        # The codes of the voice are learned like those of the answer: each after its own words.
        codes = [n for n, i in enumerate(drawn.ids) if i >= rows.text.audio_offset]
        assert drawn.learned.tolist() == codes
        answer = drawn.learned >= drawn.begin
        known = {True: said == "one two three", False: sample != "four five"}
        for own, words, back in ((True, said, 0.0), (False, sample, lm_rows.APART)):
            wanted = drawn.wanted[answer == own]
            assert bool(wanted.isfinite().all()) == bool(wanted.isfinite().any()) == known[own]
            places = drawn.times.isfinite() & ((drawn.times >= 0) == own)
            assert bool(places.any()) == known[own]
            if not known[own]:
                continue
            marked = [i for i, there in zip(drawn.ids, places, strict=False) if there]
            assert rows.text.decode(marked).strip() == words
            times = drawn.times[places] + back
            assert (times.diff() >= 0).all()
            # From the first word's beginning to the last one's end, and looked for from the
            # first code on.
            assert float(times[0]) >= 0.0
            assert float(times[-1]) <= len(wanted) / 5 + 1e-3
            rendered = token_times(torch.arange(len(wanted))).float()
            assert torch.allclose(wanted + back, rendered, atol=1e-3)
    assert texts == {"one two three", "four five"}
    # Words are cut where they are known; a recording without times is taken whole.
    for _ in range(40):
        drawn = rows.draw(rng, 12)
        said = rows.text.decode(drawn.ids[: drawn.begin]).split("human\n")[-1].split("<|EOT|>")[0]
        assert said in ("one", "two", "three", "four five")
    mixed = spoken_rows(monkeypatch, 0.5).batch(np.random.default_rng(0), 12, 4096)
    assert mixed["times"].shape == (len(mixed["ids"]), mixed["ids"].shape[1] - 1)
    assert mixed["wanted"].shape == mixed["asked"].shape
    assert mixed["wanted"].isnan().any(dim=1).any()


def test_slips_are_read_but_never_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, rng = spoken_rows(monkeypatch, 0.0), np.random.default_rng(0)
    spec, offset, changed, seen = rows.spec, rows.text.audio_offset, 0, 0
    for _ in range(20):
        batch = rows.batch(rng, 30, 1024)
        places = (
            batch["places"] // (batch["ids"].shape[1] - 1),
            batch["places"] % (batch["ids"].shape[1] - 1),
        )
        read, said = batch["ids"][:, 1:][places] - offset, batch["targets"] - offset
        # An answer is interleaved as ever: a slip is a code of the same codebook.
        assert torch.equal(read < spec.linguistic_size, said < spec.linguistic_size)
        assert torch.equal(read[said < 0], said[said < 0])
        changed, seen = changed + int((read != said).sum()), seen + len(said)
    assert 0.3 * lm_rows.SLIPS < changed / seen < 0.7 * lm_rows.SLIPS


def test_a_batch_holds_rows_of_about_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, rng = spoken_rows(monkeypatch, 0.5), np.random.default_rng(0)
    filled = positions = 0
    for _ in range(20):
        batch = rows.batch(rng, 30, 2048)
        assert batch["ids"].numel() <= 2048
        filled, positions = (
            filled + int((batch["ids"] != 0).sum()),
            positions + batch["ids"].numel(),
        )
    assert filled > 0.85 * positions


@pytest.mark.parametrize("group", [1, 5])
def test_variants_learn_every_code_of_every_row_once(
    monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    rows, rng = spoken_rows(monkeypatch, 0.0), np.random.default_rng(0)
    drawn = [rows.draw_edit(rng, longest) for longest in (8, 12, 30)]
    assert len({len(one.ids) for one in drawn}) == 3
    config = replace(
        Step1Config.debug(), vocab_size=rows.text.vocab_size, audio_offset=rows.text.audio_offset,
        linguistic_size=SPEC.linguistic_size, semantic_size=SPEC.semantic_size,
        end_ids=(rows.text.token_id(EOT),),
    )  # fmt: skip
    lm = GroupedLM(GroupedConfig(config, group))
    together, alone = grouped_batch(drawn), [grouped_batch([one]) for one in drawn]
    assert int(together["lengths"].sum()) == sum(len(one.ids) - one.begin - 1 for one in drawn)
    with torch.no_grad():
        both = lm.loss(*(together[k] for k in ("prefix", "codes", "lengths", "padding")))
        each = [lm.loss(b["prefix"], b["codes"]) for b in alone]
    # One group of ends per row counts as well.
    weights = torch.stack([b["lengths"][0] + group for b in alone]).float()
    expected = (torch.stack(each) * weights).sum() / weights.sum()
    assert float(both) == pytest.approx(float(expected), abs=1e-5)


def test_a_model_that_goes_on_keeps_its_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = spoken_rows(monkeypatch, 0.2)
    fake(
        monkeypatch,
        row("c", 30, "other words"),
        row("c-f", 23, "other words", change="speed:faster", source="c"),
    )
    assert lm_rows.Rows(["f"], 0.0, rows.text).text is rows.text
    assert lm_rows.Rows(["f"], 0.0).text.encode("other") != rows.text.encode("other")
    smaller = train_text_tokenizer(["other"], 400, audio_tokens=12, phrases=())
    with pytest.raises(ValueError, match="the same tokenizers"):
        lm_rows.Rows(["f"], 0.0, smaller)


def test_a_voice_never_says_the_words_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = row("a.0-f", 9, change="speed:faster", source="a.0")
    pieces = [row("a.0", 10, "one two"), row("a.1", 10, "three four")]
    fake(monkeypatch, row("a", 20, "one two three four"), *pieces, changed)
    assert lm_rows.Rows(["f"], 0.2).voices == {("s", "en"): [(0, 1), (0, 2)]}


def test_rows_that_cannot_be_drawn_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = row("a-f", 23, change="speed:faster", source="a")
    fake(monkeypatch, row("a", 30), changed)
    with pytest.raises(ValueError, match="two recordings of one speaker"):
        lm_rows.Rows(["f"], 0.2)
    assert lm_rows.Rows(["f"], 0.0).pairs
    fake(monkeypatch, row("a", LONGEST))
    with pytest.raises(ValueError, match="pairs of edits"):
        lm_rows.Rows(["f"], 0.0)


def batch_of(times: Sequence[float], wanted: Sequence[float], ids: Sequence[int]) -> dict[str, Any]:
    asked = torch.tensor([[len(times) - 1 - len(wanted) + n + 1 for n in range(len(wanted))]])
    return {
        "ids": torch.tensor([ids]),
        "asked": asked,
        "times": torch.tensor([times]),
        "wanted": torch.tensor([wanted]),
        "width": torch.tensor([0.01]),
    }


def test_guidance_counts_the_attention_on_the_right_place_alone() -> None:
    config = Step1Config.nano()
    attention = Attention(config)
    attention.requires_grad_(False)
    for weight in (attention.q_proj.weight, attention.k_proj.weight):
        torch.nn.init.zeros_(weight)  # then only the falling bias decides
    heads = torch.zeros(1, 5, config.hidden_size)
    kinds = torch.tensor([-1, 0, 1], dtype=torch.int8)
    slope = float(alibi_slopes(attention.heads)[GUIDED_HEAD])

    def share(query: int, place: int) -> float:
        weights = [math.exp(-slope * math.sqrt(query - n)) for n in range(query + 1)]
        return weights[place] / sum(weights)

    inf, nan = math.inf, math.nan
    # Position 4 predicts id 1 and looks for moment 7: position 1, of the same codebook.
    batch = batch_of([inf, 7.0, 7.0, 9.0, inf], [7.0], [0, 1, 2, 1, 0, 1])
    expected = -math.log(share(4, 1) + 1e-3)
    assert float(misplaced(attention, heads, batch, kinds)) == pytest.approx(expected, rel=1e-4)
    # Text may be looked at by both codebooks.
    batch["ids"] = torch.tensor([[0, 0, 2, 1, 0, 1]])
    assert float(misplaced(attention, heads, batch, kinds)) == pytest.approx(expected, rel=1e-4)
    batch["wanted"] = torch.tensor([[nan]])
    assert float(misplaced(attention, heads, batch, kinds)) == 0.0
