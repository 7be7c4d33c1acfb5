"""Going on from what is there: a larger model that begins as the smaller one, parts of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recipes.nano.grow import grown
from recipes.nano.take_apart import take_apart
from stepaudio import EditPipeline
from stepaudio.decoder.flow import TokenFlowDecoder
from stepaudio.lm.step1 import Step1Config, Step1LM
from stepaudio.locate import EMBEDDED
from stepaudio.tokenizers.text import SentencePieceText

SMALL = Step1Config(
    hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=6,
    num_attention_groups=2, vocab_size=60, audio_offset=36, linguistic_size=8, semantic_size=16,
)  # fmt: skip


def logits(lm: Step1LM, ids: torch.Tensor) -> torch.Tensor:
    said: torch.Tensor = lm.lm_head(lm.model(lm.model.embed_tokens(ids)))
    return said


@pytest.mark.parametrize("sizes", [(2, 24, 40), (4, 24, 40), (2, 36, 40), (2, 24, 56), (3, 48, 80)])
def test_a_grown_model_says_what_the_small_one_says(sizes: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    small = Step1LM(SMALL)
    for parameter in small.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ids = torch.randint(60, (2, 30))
    large = grown(small, *sizes)
    assert (large.config.num_hidden_layers, large.config.hidden_size) == sizes[:2]
    torch.testing.assert_close(logits(large, ids), logits(small, ids), atol=1e-3, rtol=1e-3)


def test_everything_that_grew_learns() -> None:
    torch.manual_seed(0)
    small = Step1LM(SMALL)
    large = grown(small, 3, 36, 60)
    optimizer = torch.optim.AdamW(large.parameters(), lr=1e-2)
    before = {name: p.detach().clone() for name, p in large.named_parameters()}
    ids = torch.randint(60, (8, 31))
    for _ in range(3):
        optimizer.zero_grad()
        said = logits(large, ids[:, :-1])
        torch.nn.functional.cross_entropy(said.flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
    for name, parameter in large.named_parameters():
        if name != "model.embed_tokens.weight":
            assert (parameter != before[name]).all(), name


def test_a_model_does_not_shrink() -> None:
    with pytest.raises(ValueError, match=r"below \(2, 24, 40\)"):
        grown(Step1LM(SMALL), 2, 18, 40)


def test_a_pipeline_comes_apart(tmp_path: Path) -> None:
    pipe = EditPipeline.from_pretrained()
    take_apart(EMBEDDED, tmp_path)
    lm = Step1LM.from_pretrained(tmp_path / "lm" / "model")
    ids = torch.arange(50)[None]
    torch.testing.assert_close(logits(lm, ids), logits(pipe.parts.lm, ids))
    text = SentencePieceText.from_pretrained(tmp_path / "lm" / "text")
    assert text.encode("Slower, please.") == pipe.parts.text.encode("Slower, please.")
    flow = TokenFlowDecoder.from_pretrained(tmp_path / "flow" / "model")
    assert flow.config.steps == pipe.parts.flow.config.steps
    assert {p.name for p in tmp_path.iterdir()} == {
        "linguistic", "semantic", "speaker", "lm", "flow", "vocoder_tuned",
    }  # fmt: skip
