from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import LM, TOKENS, FakeLM

from stepaudio.errors import CheckpointError, GenerationError
from stepaudio.parts import Defaults, load_defaults, write_manifest
from stepaudio.redraw import LENGTH_TOLERANCE, Lengths, draw_seed, is_late, misfit, write_edits
from stepaudio.result import Run
from stepaudio.seeds import derive_seed
from stepaudio.synthesis import write_codes
from stepaudio.tokenizers.content import lost_content
from stepaudio.types import SamplingParams, SpeechTokens, StopReason, TokenStep

SAMPLING = SamplingParams(temperature=3.0, max_new_tokens=60, min_new_tokens=5)
PROMPT = [0, 1, 2]
SEEDS = list(range(12))


#: Codes on a line: far ones are other words.
BOOKS = (
    torch.arange(float(TOKENS.linguistic_size))[:, None],
    torch.arange(float(TOKENS.semantic_size))[:, None],
)
SOURCE = SpeechTokens(torch.zeros(8, dtype=torch.int64), torch.zeros(12, dtype=torch.int64), TOKENS)


def write(
    wanted: float | None, draws: int, seeds: list[int], books: Any = None, **how: Any
) -> list[SpeechTokens]:
    count = len(seeds)
    codes, _ = write_edits(
        FakeLM(), [PROMPT] * count, [60] * count, [SOURCE] * count,
        [None if wanted is None else Lengths.around(wanted)] * count,
        replace(SAMPLING, **how), seeds, Run(), draws=draws, codebooks=books,
    )  # fmt: skip
    return codes


def lengths(wanted: float | None, draws: int, seeds: list[int] = SEEDS) -> list[int]:
    return [c.num_units for c in write(wanted, draws, seeds)]


def lost(codes: list[SpeechTokens]) -> list[float]:
    return [lost_content(SOURCE, c, BOOKS) for c in codes]


def test_misfit() -> None:
    assert misfit(10, None, "end") == 0.0
    assert misfit(10, Lengths.around(10), "end") == 0.0
    assert misfit(107, Lengths.around(100), "end") == 0.0
    assert misfit(120, Lengths(90, 100), "end") == pytest.approx(math.log(1.2))
    assert misfit(80, Lengths(100, 110), "end") == pytest.approx(math.log(1.25))
    # Twice as long is as wrong as half as long.
    both = [misfit(units, Lengths.around(100), "end") for units in (50, 200)]
    assert both[0] == pytest.approx(both[1])
    assert misfit(100, Lengths.around(100), "length") == math.inf
    assert misfit(5, None, "length") == math.inf


def test_one_draw_is_what_the_model_writes() -> None:
    codes, _ = write_codes(
        FakeLM(), [PROMPT] * 12, [60] * 12, SAMPLING, SEEDS, Run()
    )  # fmt: skip
    assert lengths(3.0, 1) == [c.num_units for c in codes]


def test_more_draws_come_nearer_and_keep_what_fits() -> None:
    once, often = lengths(3.0, 1), lengths(3.0, 6)
    fits = [abs(math.log(n / 3)) <= math.log1p(LENGTH_TOLERANCE) for n in once]
    assert any(fits)
    assert not all(fits)
    for before, after, fit in zip(once, often, fits, strict=True):
        assert (after == before) if fit else abs(math.log(after / 3)) <= abs(math.log(before / 3))
    assert sum(abs(math.log(n / 3)) for n in often) < sum(abs(math.log(n / 3)) for n in once)


def test_among_draws_that_fit_the_one_that_keeps_the_words_is_kept() -> None:
    # 60 ids, 12 units, are the most there can be: what is as long was cut.
    alone = [write(None, 1, [draw_seed(s, n) for s in SEEDS]) for n in range(8)]
    judged = [list(zip([c.num_units == 12 for c in a], lost(a), strict=True)) for a in alone]
    found = [
        draws[:4] if any(not cut for cut, _ in draws[:4]) else draws
        for draws in zip(*judged, strict=True)
    ]
    best, first = write(None, 4, SEEDS, BOOKS), write(None, 4, SEEDS)
    assert lost(best) == [min(draws)[1] for draws in found]
    # Without codebooks all that end by themselves are equally good: the first one is kept.
    assert lost(first) == [min(draws, key=lambda draw: draw[0])[1] for draws in found]
    assert sum(lost(best)) < sum(lost(first))


def test_a_fitting_length_comes_before_the_words() -> None:
    fitting, first = lengths(3.0, 6), [c.num_units for c in write(3.0, 6, SEEDS, BOOKS)]
    off = [[misfit(n, Lengths.around(3), "end") for n in found] for found in (fitting, first)]
    assert off[0] == off[1]


def test_draws_have_seeds_of_their_own_unless_nothing_is_drawn() -> None:
    assert [draw_seed(7, n) for n in range(3)] == [
        7,
        derive_seed(7, "draw 1"),
        derive_seed(7, "draw 2"),
    ]
    greedy = write(None, 1, [5], temperature=0.0)[0]
    many = write(None, 9, [5], temperature=0.0)[0]
    assert torch.equal(many.linguistic, greedy.linguistic)


def test_batch_gives_what_its_singles_give() -> None:
    together = write(3.0, 3, SEEDS, BOOKS)
    for seed, one in zip(SEEDS, together, strict=True):
        (alone,) = write(3.0, 3, [seed], BOOKS)
        assert torch.equal(alone.linguistic, one.linguistic)
        assert torch.equal(alone.semantic, one.semantic)


def test_a_draw_without_a_whole_unit_is_passed_over() -> None:
    loose = {"constrain": False, "min_new_tokens": 1}
    failing, count = [], 0
    for seed in range(40):
        try:
            write(None, 1, [seed], **loose)
        except GenerationError:
            failing.append(seed)
    assert failing
    for seed in failing:
        try:
            write(None, 8, [seed], **loose)
        except GenerationError:
            continue
        count += 1
    assert count or len(failing) == 40


def test_who_is_late() -> None:
    assert not is_late(500, [], Lengths.around(10))
    assert not is_late(10, [14], Lengths.around(10))  # may still end where it should
    assert not is_late(13, [14], Lengths.around(10))
    assert is_late(15, [14], Lengths.around(10))
    assert is_late(12, [7, 10], Lengths.around(10))
    assert not is_late(9, [10], Lengths.around(10))
    assert not is_late(108, [60, 100], None)
    assert is_late(134, [60, 100], None)


def test_not_waiting_changes_nothing_where_a_length_is_asked_for() -> None:
    alone = [write(3.0, 1, [draw_seed(s, n) for s in SEEDS]) for n in range(12)]
    kept = write(3.0, 6, SEEDS, BOOKS)
    assert {c.num_units for c in kept} != {12}

    def judge(codes: SpeechTokens) -> tuple[float, float]:
        # 12 units are the limit: what is as long did not end by itself.
        reason: StopReason = "length" if codes.num_units == 12 else "end"
        return misfit(codes.num_units, Lengths.around(3), reason), lost_content(
            SOURCE, codes, BOOKS
        )

    for number, one in enumerate(kept):
        judged = [judge(found[number]) for found in alone]
        first = judged[:6]
        assert judge(one) == min(first if any(off == 0 for off, _ in first) else judged)


class Counting(FakeLM):
    """Notes how many rows are drawn at once."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[int] = []

    def generate(self, prompts: Any, sampling: Any, **how: Any) -> Iterator[TokenStep]:
        self.drawn.append(len(prompts))
        return super().generate(prompts, sampling, **how)


@pytest.mark.parametrize(("draws", "rounds"), [(1, [12]), (3, [36, 36])])
def test_what_cannot_be_had_is_asked_for_twice(draws: int, rounds: list[int]) -> None:
    lm = Counting()
    write_edits(
        lm, [PROMPT] * 12, [60] * 12, [SOURCE] * 12, [Lengths.around(500)] * 12,
        SAMPLING, SEEDS, Run(), draws=draws, codebooks=None,
    )  # fmt: skip
    assert lm.drawn == rounds


def test_only_what_is_not_right_is_drawn_again() -> None:
    lm = Counting()
    codes, ends = write_edits(
        lm, [PROMPT] * 12, [60] * 12, [SOURCE] * 12, [Lengths.around(3)] * 12,
        SAMPLING, SEEDS, Run(), draws=5, codebooks=None,
    )  # fmt: skip
    first = [lengths(3.0, 1, [draw_seed(s, n) for s in SEEDS]) for n in range(5)]
    wanted = Lengths.around(3)
    wrong = sum(all(misfit(n, wanted, "end") for n in mine) for mine in zip(*first, strict=True))
    assert lm.drawn == [60, 5 * wrong]
    assert 0 < wrong < 12
    later = [misfit(c.num_units, wanted, end) for c, end in zip(codes, ends, strict=True)]
    assert sum(map(bool, later)) < wrong


def test_a_draw_that_never_ends_is_not_waited_for() -> None:
    class OneEnds(FakeLM):
        steps = 0

        def generate(self, prompts: Any, sampling: Any, **how: Any) -> Iterator[TokenStep]:
            for count in range(sampling.max_new_tokens):
                self.steps += 1
                ended = count >= 20
                code = LM.audio_offset + (count % 5 >= 2) * TOKENS.linguistic_size
                yield TokenStep(
                    torch.tensor([code, code]),
                    torch.tensor([not ended, True]),
                    ("end" if ended else "running", "running"),
                )

    for wanted, steps in ((Lengths.around(4), 25), (None, 70)):
        lm = OneEnds()
        codes, reasons = write_edits(
            lm, [PROMPT], [400], [SOURCE], [wanted],
            replace(SAMPLING, max_new_tokens=400), [0], Run(), draws=2, codebooks=None,
        )  # fmt: skip
        assert (codes[0].num_units, reasons) == (4, ["end"])
        assert lm.steps == steps


def test_cut_draws_lose_against_those_that_end() -> None:
    def reasons(draws: int) -> Sequence[str]:
        return write_edits(
            FakeLM(), [PROMPT] * 12, [15] * 12, [SOURCE] * 12, [None] * 12, SAMPLING, SEEDS, Run(),
            draws=draws, codebooks=None,
        )[1]  # fmt: skip

    assert reasons(6).count("length") < reasons(1).count("length")


def test_defaults_keep_and_check_the_speeds(tmp_path: Path) -> None:
    defaults = Defaults(draws=3, speeds={"more faster": 0.625})
    write_manifest(tmp_path, {}, defaults=defaults)
    assert load_defaults(tmp_path) == defaults
    for wrong in ({"draws": 0}, {"speeds": {"faster": 0.0}}):
        with pytest.raises(ValueError, match="must"):
            Defaults(**wrong)
    (tmp_path / "pipeline.json").write_text(
        '{"format": 1, "parts": {}, "defaults": {"draws": 0}}', encoding="utf-8"
    )
    with pytest.raises(CheckpointError, match="draws"):
        load_defaults(tmp_path)
