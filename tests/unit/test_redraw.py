from __future__ import annotations

import math
from pathlib import Path

import pytest
from fakes import FakeLM

from stepaudio.errors import CheckpointError
from stepaudio.parts import Defaults, load_defaults, write_manifest
from stepaudio.redraw import LENGTH_TOLERANCE, misfit, write_edits
from stepaudio.result import Run
from stepaudio.seeds import derive_seed
from stepaudio.synthesis import write_codes
from stepaudio.types import SamplingParams

SAMPLING = SamplingParams(temperature=3.0, max_new_tokens=60, min_new_tokens=5)
PROMPT = [0, 1, 2]
SEEDS = list(range(12))


def lengths(wanted: float | None, draws: int, seeds: list[int] = SEEDS) -> list[int]:
    codes, _ = write_edits(
        FakeLM(), [PROMPT] * len(seeds), [60] * len(seeds), [wanted] * len(seeds), SAMPLING, seeds,
        Run(), draws=draws,
    )  # fmt: skip
    return [c.num_units for c in codes]


def test_misfit() -> None:
    assert misfit(10, None, "end") == 0.0
    assert misfit(10, 10.0, "end") == 0.0
    assert misfit(107, 100.0, "end") == 0.0
    assert misfit(120, 100.0, "end") == pytest.approx(math.log(1.2))
    assert misfit(80, 100.0, "end") == pytest.approx(-math.log(0.8))
    assert misfit(100, 100.0, "length") == math.inf
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


def test_the_second_draw_has_a_seed_of_its_own() -> None:
    seed = next(s for s in SEEDS if lengths(3.0, 1, [s]) != lengths(3.0, 2, [s]))
    assert lengths(3.0, 2, [seed]) == lengths(None, 1, [derive_seed(seed, "draw 1")])


def test_batch_gives_what_its_singles_give() -> None:
    assert lengths(3.0, 3) == [lengths(3.0, 3, [seed])[0] for seed in SEEDS]


def test_cut_draws_are_drawn_again() -> None:
    def reasons(draws: int) -> list[str]:
        return write_edits(
            FakeLM(), [PROMPT] * 12, [15] * 12, [None] * 12, SAMPLING, SEEDS, Run(), draws=draws
        )[1]

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
