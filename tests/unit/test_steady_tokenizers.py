from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recipes.nano import steady_tokenizers
from recipes.nano.steady_tokenizers import Pairs, code_loss, draw_pairs
from stepaudio.types import SpeechTokens, TokenSpec

SPEC = TokenSpec(32, 64)
UNITS = 40


class FakeFeatures:
    """Every recording is a ramp; ``level`` tells them apart."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def get(self, item: int, kind: str, start: float, seconds: float) -> torch.Tensor:
        frames = round(self.rows[item]["units"] * 12)
        return torch.full((min(frames, round(seconds * 100)), 4), float(item))


class FakeCodes:
    """Codes are the number of the recording."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def units(self, item: int) -> int:
        return int(self.rows[item]["units"])

    def tokens(self, item: int, start: int, units: int) -> SpeechTokens:
        units = min(units, self.units(item) - start)
        return SpeechTokens(torch.full((2 * units,), item), torch.full((3 * units,), item), SPEC)


def pairs(monkeypatch: pytest.MonkeyPatch, *rows: dict[str, Any]) -> Pairs:
    monkeypatch.setattr(steady_tokenizers, "Features", lambda _: FakeFeatures(list(rows)))
    monkeypatch.setattr(steady_tokenizers, "Codes", lambda _: FakeCodes(list(rows)))
    return Pairs(["f"])


def row(key: str, change: str = "none", source: str = "", units: int = UNITS) -> dict[str, Any]:
    return {"id": key, "change": change, "source": source, "units": units}


def test_a_noisy_recording_is_to_be_written_like_the_quiet_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = pairs(
        monkeypatch, row("a"), row("n", "noisy", "a"), row("f", "speed:faster", "a"),
        row("lost", "noisy", "nowhere"),
    )  # fmt: skip
    seen = set()
    for step in range(40):
        heard, linguistic, semantic = found.draw(np.random.default_rng(step), 20, "fbank")
        assert heard.shape == (240, 4)
        assert (len(linguistic), len(semantic)) == (40, 60)
        seen.add((int(heard[0, 0]), int(linguistic[0]), int(semantic[0])))
    # Of the quiet ones every recording keeps its own.
    assert seen == {(1, 0, 0), (0, 0, 0), (2, 2, 2)}
    with pytest.raises(ValueError, match="made noisy"):
        pairs(monkeypatch, row("a"))


def test_rows_of_a_batch_are_padded_where_recordings_are_shorter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = pairs(monkeypatch, row("a", units=10), row("n", "noisy", "a", units=10))
    batch = draw_pairs(found, "semantic", 1)(np.random.default_rng(0), 0.0)
    assert batch["heard"].shape[0] == batch["codes"].shape[0]
    assert batch["heard"].shape[1] % 240 == 0
    assert batch["codes"].shape[1] == 30


def test_loss_falls_towards_the_code_and_forgets_padding() -> None:
    codebook = torch.eye(4)
    codes = torch.tensor([[0, 1, -1]])
    near = 0.9 * codebook[[0, 1, 3]][None] + 0.05
    far = 0.9 * codebook[[2, 1, 3]][None] + 0.05
    good, bad = code_loss(near, codebook, codes), code_loss(far, codebook, codes)
    assert good["loss"] < bad["loss"]
    assert (float(good["right"]), float(bad["right"])) == (1.0, 0.5)
    other = near.clone()
    other[0, 2] = 100.0
    assert torch.equal(code_loss(other, codebook, codes)["loss"], good["loss"])
    states = far.clone().requires_grad_()
    code_loss(states, codebook, codes)["loss"].backward()
    assert states.grad is not None
    # A step against the gradient leads the wrong state to its code.
    assert states.grad[0, 0, 0] < 0 < states.grad[0, 0, 2]
