from __future__ import annotations

import pytest
import torch
from conftest import assert_close

from stepaudio.decoder.weight_norm import fold_weight_norm
from stepaudio.errors import CheckpointError


@pytest.mark.parametrize(
    ("g", "v"),
    [
        ("weight_g", "weight_v"),
        ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    ],
)
def test_folding_gives_the_weight_torch_uses(g, v):
    conv = torch.nn.utils.parametrizations.weight_norm(torch.nn.ConvTranspose1d(3, 5, 4))
    with torch.no_grad():
        conv.parametrizations.weight.original0.mul_(1.7)
    tensors = {
        f"ups.0.{g}": conv.parametrizations.weight.original0.detach(),
        f"ups.0.{v}": conv.parametrizations.weight.original1.detach(),
        "ups.0.bias": conv.bias.detach(),
    }
    folded = fold_weight_norm(tensors)
    assert set(folded) == {"ups.0.weight", "ups.0.bias"}
    assert_close(folded["ups.0.weight"], conv.weight.detach(), 1e-6)


def test_plain_weights_pass():
    tensors = {"a.weight": torch.ones(2, 2), "a.bias": torch.ones(2)}
    assert fold_weight_norm(tensors) == tensors


@pytest.mark.parametrize("half", ["weight_g", "weight_v"])
def test_half_a_pair_is_refused(half):
    with pytest.raises(CheckpointError, match=r"conv\.weight_"):
        fold_weight_norm({f"conv.{half}": torch.ones(2, 1, 1)})
