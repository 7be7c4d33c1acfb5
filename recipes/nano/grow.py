"""A larger language model that begins with what a smaller one has learned.

The larger one gives the same answers at first (Net2Net, Chen et al. 2016): new channels of the
stream are zeros that nobody writes yet, new channels inside attention and MLP are read with weight
zero, new blocks add nothing. On the other side of each of these zeros stand random weights, so that
every one of them has a gradient from the first step on.

    python -m recipes.nano.grow runs/nano/lm -o runs/nano/grown --layers 6 --width 288 --inner 768
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from stepaudio.lm.step1 import Step1Config, Step1LM
from stepaudio.tokenizers.text import SentencePieceText

__all__ = ["grown", "main"]


@torch.no_grad()
def grown(small: Step1LM, layers: int, width: int, inner: int) -> Step1LM:
    """A larger model that says what the smaller one says, with the same heads and vocabulary.

    Args:
        small: trained.
        layers: blocks of the larger one.
        width: of its stream.
        inner: width inside its MLPs.

    Returns:
        The larger model.

    Raises:
        ValueError: it would be smaller somewhere.
    """
    old = small.config
    before = (old.num_hidden_layers, old.hidden_size, old.intermediate_size)
    if any(now < then for now, then in zip((layers, width, inner), before, strict=True)):
        raise ValueError(f"layers, width and inner width cannot be below {before}")
    # The mean square of a stream with zeros in it is smaller, by the share that is not zero.
    share = old.hidden_size / width
    config = replace(
        old, num_hidden_layers=layers, hidden_size=width, intermediate_size=inner,
        rms_norm_eps=old.rms_norm_eps * share,
    )  # fmt: skip
    large = Step1LM(config)
    theirs, state = small.state_dict(), large.state_dict()
    for name, tensor in state.items():
        layer = name.split(".")[2] if ".layers." in name else "0"
        new = int(layer) >= old.num_hidden_layers
        # What a new block writes is nothing; the rest of it is that of the last old one.
        source = name.replace(f".{layer}.", f".{old.num_hidden_layers - 1}.") if new else name
        tensor.copy_(_larger(name, theirs[source].float(), tensor, old, config, share**0.5))
        if new and name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor.zero_()
    large.load_state_dict(state)
    return large


def _larger(
    name: str, weight: Tensor, fresh: Tensor, old: Step1Config, new: Step1Config, norm: float
) -> Tensor:
    """One tensor of the larger model, from that of the smaller one and a fresh one."""
    part = name.removesuffix(".weight").rpartition(".")[2]
    if part in ("input_layernorm", "post_attention_layernorm", "norm"):
        return torch.cat([weight, torch.ones(len(fresh) - len(weight))]) * norm
    # As attention sees them: heads by channels of a head.
    heads = {
        "q_proj": (old.num_attention_heads, 0), "o_proj": (old.num_attention_heads, 1),
        "k_proj": (old.num_attention_groups, 0), "v_proj": (old.num_attention_groups, 0),
    }  # fmt: skip
    count, axis = heads.get(part, (1, 0))
    small, out = (
        x.reshape(*x.shape[:axis], count, -1, *x.shape[axis + 1 :]) for x in (weight, fresh.clone())
    )
    if part in ("embed_tokens", "k_proj", "o_proj", "down_proj"):
        out.zero_()
    out[tuple(slice(n) for n in small.shape)] = small
    if part == "q_proj":
        # Scores are divided by the root of the channels of a head.
        out[:, : old.head_dim, : old.hidden_size] *= (new.head_dim / old.head_dim) ** 0.5
    return out.reshape_as(fresh)


def main() -> None:
    """Grow the model of a run into another run's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("start", type=Path, help="folder with model and text")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--layers", type=int, required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--inner", type=int, required=True)
    args = parser.parse_args()
    torch.manual_seed(0)
    small = Step1LM.from_pretrained(args.start / "model").float()
    grown(small, args.layers, args.width, args.inner).save_pretrained(args.out / "model")
    SentencePieceText.from_pretrained(args.start / "text").save_pretrained(args.out / "text")


if __name__ == "__main__":
    main()
