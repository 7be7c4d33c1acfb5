"""The large-margin experiment on a debug model: all stages, stopped in between and gone on with."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from debug_parts import DEFAULTS, TOKENS, debug_parts, speech

from recipes.nano.posttrain import inputs, listening, page, stages
from recipes.nano.posttrain.plan import Plan
from recipes.nano.posttrain.result import gather
from recipes.nano.posttrain.stages import Experiment, Ways
from recipes.nano.posttrain.trainings import Folders, run_training
from stepaudio.evaluation.benchmark_data import Row
from stepaudio.evaluation.measuring import Instrument, Instruments
from stepaudio.evaluation.prosody import Prosody
from stepaudio.evaluation.style_judge import StyleJudge
from stepaudio.hub import write_atomic
from stepaudio.parts import save_parts

PLAN = Plan(
    seeds=1, pairs=4, longest=12, prompts=4, draws=1, preferences=6, ppo_rounds=2, ppo_prompts=4,
    grpo_rounds=1, groups=2, group=2, answer_tokens=40, held_out=2, clips=1, margin_clips=1,
)  # fmt: skip
CHANGES = ("emotion:happy", "emotion:sad", "style:whisper")


def write_features(folder: Path, speakers: int) -> str:
    """Every speaker says one sentence, and says it in three more ways; ten units each."""
    folder.mkdir()
    rows = []
    for speaker in range(speakers):
        sound = speech(0.6, seed=speaker).save(folder / f"{speaker}.wav")
        base = {
            "path": str(sound), "speaker": f"speaker {speaker}", "text": f"why not {speaker}",
            "lang": "en", "labels": {"times": [[0, 0], [1.2, 1.2]]},
        }  # fmt: skip
        rows.append({**base, "id": f"r{speaker}", "change": "none", "source": ""})
        for change in CHANGES:
            row = {"id": f"r{speaker}-{change}", "change": change, "source": f"r{speaker}"}
            rows.append({**base, **row})
    (folder / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rng = np.random.default_rng(0)
    np.savez(
        folder / "codes.npz", starts=10 * np.arange(len(rows) + 1), speakers=np.zeros(len(rows)),
        linguistic=rng.integers(0, TOKENS.linguistic_size, 20 * len(rows)),
        semantic=rng.integers(0, TOKENS.semantic_size, 30 * len(rows)),
        sizes=np.asarray([TOKENS.linguistic_size, TOKENS.semantic_size]),
    )  # fmt: skip
    return str(folder)


@pytest.mark.slow
def test_all_stages_stopped_in_between_and_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("accelerate")
    pytest.importorskip("matplotlib", reason="curves are drawn with matplotlib")
    save_parts(debug_parts(), tmp_path / "model", defaults=DEFAULTS)
    recording = speech(1.2).save(tmp_path / "test.wav")
    heard = [
        Row(f"{task}-{group}", "1", task, label, f"reader {group}", "en", "why not", "test",
            recording=recording, set=group)
        for task, label, group in (
            ("emotion", "happy", "near"), ("emotion", "sad", "far"), ("style", "whisper", "near")
        )
    ]  # fmt: skip
    # Nothing is downloaded: the judge by rule hears everything, and never an emotion.
    told = Instruments([Instrument(Prosody())], {"emotion": StyleJudge(), "style": StyleJudge()})
    monkeypatch.setattr(listening, "_instruments", lambda *_: told)
    monkeypatch.setattr(inputs, "usable", lambda *_: [])
    monkeypatch.setattr(inputs, "policy_rows", lambda *_: heard)
    monkeypatch.setattr(inputs, "emotion_rows", lambda *_: heard[:2])
    features = write_features(tmp_path / "features", 30)
    ways = Ways((features,), tmp_path / "model" / "text", "test.jsonl", "judge", workers=1)
    out = tmp_path / "out"
    folders = Folders(out, tmp_path / "model" / "lm", str(tmp_path / "model"))

    def stop_at_ppo(stage: str, settings: Path) -> None:
        if stage == "ppo":
            raise KeyboardInterrupt
        run_training(stage, settings)

    with monkeypatch.context() as once:
        once.setattr(stages, "run_training", stop_at_ppo)
        with pytest.raises(KeyboardInterrupt):
            Experiment(folders, ways, PLAN, say=lambda _: None).run()
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("*.json*") if "times" not in p.name}
    assert (out / "runs" / "dpo" / "model").is_dir()
    with pytest.raises(ValueError, match="another plan"):
        Experiment(folders, ways, Plan(), say=lambda _: None)
    Experiment(folders, ways, PLAN, say=lambda _: None).run()
    # What was finished stayed as it was, but for the claim.
    assert all(p.stat().st_mtime_ns == at for p, at in kept.items() if p.name != "experiment.json")

    found: dict[str, Any] = json.loads(json.dumps(gather(folders, PLAN)))
    assert set(found["tokens"]) == {"sft", "dpo", "grpo", "ppo", "large-0", "small-0", "both-0"}
    assert found["tokens"]["sft"]["numbers"]["kl"]["value"] == pytest.approx(0, abs=1e-3)
    assert (
        found["margins"]["arms"]["both"]["pairs"] == 2 * found["margins"]["arms"]["large"]["pairs"]
    )
    assert sum(found["online"]["ppo"]["shares"].values()) == pytest.approx(1, abs=1e-3)
    assert found["heard"]["sft-fixed"]["config"]["fixed_prompt"]
    assert found["policy_differences"]["ppo"]["near, iter1"]["changed"]["n"] == 2

    text = json.dumps(found)
    write_atomic(out / "result.json", lambda place: place.write_text(text, encoding="utf-8"))
    target = tmp_path / "docs" / "page.md"
    (target.with_suffix("")).mkdir(parents=True)
    (target.with_suffix("") / "findings.md").write_text("## What came of it\n\nNothing.\n")
    monkeypatch.setattr(sys, "argv", ["page", str(out), "-o", str(target)])
    page.main()
    told_page = target.read_text(encoding="utf-8")
    for heading in (
        "What came of it",
        "Does the margin matter?",
        "Does reinforcement help?",
        "Speed",
        "Tokens",
    ):
        assert f"## {heading}" in told_page
    assert "<audio_" in told_page
    assert "(page/curves/ppo.png)" in told_page
    assert (target.with_suffix("") / "curves" / "ppo.png").is_file()
    assert (target.with_suffix("") / "configs" / "ppo.toml").is_file()
    # Nobody else's business.
    assert str(tmp_path) not in (target.with_suffix("") / "configs" / "ppo.toml").read_text()
    assert (target.with_suffix("") / "logs" / "ppo.jsonl").is_file()
