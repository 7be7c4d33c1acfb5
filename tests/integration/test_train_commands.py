"""The train commands on the debug model: they learn, they compose, they refuse."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from command_line import ok, refused, told
from training_debug import SPEC, debug_lm, losses, write_completions, write_pairs

from stepaudio.lm.step1 import Step1LM
from stepaudio.rl.reward import TokenRewardModel
from stepaudio.rl.train_reward import pairwise_accuracy
from stepaudio.training.metrics import read_metrics
from stepaudio.training.rows import pair_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("train")
    debug_lm().save_pretrained(place / "lm")
    write_completions(place / "rows.jsonl")
    write_pairs(place / "pairs.jsonl")
    (place / "sft.toml").write_text(
        f'data = "{place}/rows.jsonl"\nmodel = "{place}/lm"\noutput = "{place}/sft"\n'
        "pack_tokens = 128\npacks_per_step = 2\n"
    )
    (place / "pairs.toml").write_text(
        f'data = "{place}/pairs.jsonl"\nmodel = "{place}/sft/model"\n'
        "pack_tokens = 128\npacks_per_step = 2\nlearning_rate = 3e-3\nepochs = 4\n"
    )
    return place


def test_sft_then_reward_then_dpo(folder: Path) -> None:
    last = told(
        "train", "sft", f"{folder}/sft.toml", "--set", "learning_rate=3e-3", "--set", "epochs=6"
    )
    assert last["output"] == str(folder / "sft" / "model")
    course = losses(folder / "sft")
    # All ids equally likely at first.
    assert course[0] == pytest.approx(math.log(SPEC.vocab_size), abs=0.5)
    assert course[-1] < course[0] - 0.5
    assert isinstance(Step1LM.from_pretrained(folder / "sft" / "model"), Step1LM)

    line = ok("train", "reward", f"{folder}/pairs.toml", "--set", f"output={folder}/rm")
    assert line.startswith(f"wrote {folder}/rm/model after ")
    rows = read_metrics(folder / "rm" / "metrics.jsonl")
    assert rows[0]["loss"] == pytest.approx(math.log(2))
    assert rows[0]["accuracy"] == 0.5
    model = TokenRewardModel.from_pretrained(folder / "rm" / "model")
    pairs = pair_rows(folder / "pairs.jsonl", SPEC)
    assert pairwise_accuracy(model, pairs)["all"] > 0.9

    ok("train", "dpo", f"{folder}/pairs.toml", "--set", f"output={folder}/dpo")
    rows = read_metrics(folder / "dpo" / "metrics.jsonl")
    # The policy begins as its own reference.
    assert rows[0]["loss"] == pytest.approx(math.log(2))
    assert rows[-1]["loss"] < 0.6
    assert rows[-1]["accuracy"] > 0.9


def test_refusals_are_told_in_one_line(folder: Path) -> None:
    for settings, words in (
        (["output=x", "epoch=2"], "did you mean 'epochs'?"),
        ([f"output={folder}"], "no training run"),
        ([f"output={folder}/new", "pack_tokens=8"], "raise pack_tokens"),
        ([f"output={folder}/new", "warmup_steps=99"], "warmup_steps is 99 but the training has"),
        ([f"output={folder}/new", f"data={folder}/pairs.jsonl"], "line 1: has no 'completion'"),
        ([f"output={folder}/new", "model=nowhere"], "neither a folder nor a hub id"),
    ):
        line = [word for setting in settings for word in ("--set", setting)]
        assert words in refused("train", "sft", f"{folder}/sft.toml", *line)
    assert not (folder / "new").exists()


def test_force_leaves_what_no_run_has_written(folder: Path) -> None:
    mine = folder / "project" / "model" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("all my work")
    line = ["train", "sft", f"{folder}/sft.toml", "--set", f"output={folder}/project", "--force"]
    assert "no training run" in refused(*line)
    assert [p.name for p in (folder / "project").rglob("*")] == ["model", "mine.txt"]
