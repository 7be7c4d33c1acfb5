"""Comparisons of decoders: what is trained, what stays, and what is counted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from recipes.nano import compare_flow, compare_vocoders
from recipes.nano.heard import Clip, heard
from recipes.nano.variant_report import table, write_report
from stepaudio.audio import Audio
from stepaudio.decoder.flow import TokenFlowDecoder
from stepaudio.decoder.flow_config import FlowConfig
from stepaudio.evaluation.bootstrap import Interval
from stepaudio.evaluation.contracts import ModelId, Sample


@pytest.mark.parametrize("name", compare_vocoders.VARIANTS)
def test_every_vocoder_learns_from_sound_of_the_length_it_should_have(name: str) -> None:
    variant = compare_vocoders.VARIANTS[name]()
    mel, pitch = torch.randn(1, 80, 10), torch.full((1, 10), 120.0)
    sound, own = variant.speak(mel, pitch)
    assert sound.shape == (1, (10 - 2 * variant.edge) * 480)
    (sound.square().mean() + own).backward()
    learned = [p.grad is not None and p.grad.any() for p in variant.vocoder.parameters()]
    assert sum(map(bool, learned)) > 0.9 * len(learned)


def test_a_flow_variant_learns_its_velocity_network_alone() -> None:
    trained = TokenFlowDecoder(FlowConfig.debug())
    made = compare_flow.variant(trained, layers=2, width=64)
    assert (made.config.velocity.depth, made.config.velocity.heads) == (2, 1)
    for name, parameter in made.named_parameters():
        velocity = name.startswith("decoder.")
        assert parameter.requires_grad == velocity
        if not velocity:
            assert torch.equal(parameter, trained.get_parameter(name))


class Counted:
    """Says how long each recording is, as word errors out of ten."""

    name = "counted"
    model = ModelId("fake", "1")

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        return [
            {"word_errors": s.audio.seconds, "words": 10.0, "similarity": None, "p808": 3.0}
            for s in samples
        ]


def test_rates_are_pooled_over_what_was_made_of_every_clip() -> None:
    sources = [Clip(str(n), str(n), "words", Audio(torch.zeros(8000 * n), 8000)) for n in (1, 2)]
    made = {clip.id: Audio(torch.cat([clip.audio.samples] * 2), 8000) for clip in sources}
    found = heard(made, sources, [Counted()])
    assert found["wer"]["value"] == pytest.approx((2 + 4) / 20)
    assert found["wer"]["speakers"] == 2
    assert found["p808"]["value"] == 3.0
    assert found["similarity"]["value"] is None


def test_a_report_is_numbers_and_a_table_beside_them(tmp_path: Path) -> None:
    rows = {"small": {"steps": 1200, "wer": asdict(Interval(0.25, 0.1, 0.4, 8, 4))}, "large": {}}
    page = table("model", {"steps": "steps", "wer": "WER"}, rows)
    assert page.splitlines()[2:] == ["| small | 1,200 | 0.25 (0.10 to 0.40) |", "| large | – | – |"]
    write_report(tmp_path / "found.json", page, variants=rows)
    assert (tmp_path / "found.md").read_text(encoding="utf-8") == page + "\n"
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["variants"]["small"]["wer"]["high"] == 0.4
    assert found["environment"]
