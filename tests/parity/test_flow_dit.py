"""The velocity network against flow_dit.tiny."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conftest import Golden, assert_close
from flow_golden import velocity_config
from torch import Tensor

from stepaudio.decoder.dit import DiT, DiTState

ATOL = 5e-5


@pytest.fixture(scope="module")
def reference(golden: Callable[[str], Golden]) -> Golden:
    return golden("flow_dit.tiny")


@pytest.fixture(scope="module")
def network(reference: Golden) -> DiT:
    model = DiT(velocity_config(reference.spec["config"]["dit"]))
    prefix = "decoder.estimator."
    model.load_state_dict(
        {k[len(prefix) :]: v for k, v in reference.weights().items() if k.startswith(prefix)}
    )
    return model.eval().requires_grad_(False)


def frames_first(value: Tensor) -> Tensor:
    return value.transpose(1, 2)


def inputs(reference: Golden) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, mu, known = (frames_first(reference[name]) for name in ("x", "mu", "cond"))
    return x, mu, reference["spk"], known


def test_velocity_and_taps(network: DiT, reference: Golden) -> None:
    seen: dict[str, Tensor] = {}

    def remember(name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, inputs: object, output: Tensor | tuple[Tensor]) -> None:
            seen[name] = output if isinstance(output, Tensor) else output[0]

        return hook

    block = network.blocks[0]
    hooks = [
        network.t_embedder.register_forward_hook(remember("t_emb")),
        network.in_proj.register_forward_hook(remember("after_in_proj")),
        block.attn.register_forward_hook(remember("block0_attn")),
        block.conv.register_forward_hook(remember("block0_conv")),
        block.mlp.register_forward_hook(remember("block0_mlp")),
        block.register_forward_hook(remember("after_block0")),
    ]
    x, mu, speaker, known = inputs(reference)
    out = network(x, reference["t"], mu, speaker, known)
    for hook in hooks:
        hook.remove()
    for name, value in seen.items():
        assert_close(value, reference[name], ATOL)
    assert_close(frames_first(out), reference["out"], ATOL)


def test_key_mask(network: DiT, reference: Golden) -> None:
    x, mu, speaker, known = inputs(reference)
    mask = reference["mask"][:, 0].bool()
    out = network(x, reference["t"], mu, speaker, known, mask)
    assert_close(out[mask], frames_first(reference["out_masked"])[mask], ATOL)


def test_chunks_and_caches(network: DiT, reference: Golden) -> None:
    x, mu, speaker, known = inputs(reference)
    t = torch.full((len(x),), reference.meta["t_chunk"])
    sizes = reference.meta["chunk_sizes"]
    state, states, outs = None, [], []
    for xs, mus, knowns in zip(
        x.split(sizes, dim=1), mu.split(sizes, dim=1), known.split(sizes, dim=1), strict=True
    ):
        out, state = network.stream(xs, t, mus, speaker, knowns, state)
        outs.append(out)
        states.append(state)
    assert_close(frames_first(torch.cat(outs, dim=1)), reference["out_chunks"], ATOL)
    for state, name in ((states[0], "cache0"), (states[-1], "last")):
        convolutions, attention = pack(state)
        assert_close(convolutions, reference[f"{name}_cnn"], ATOL)
        assert_close(attention, reference[f"{name}_att"], ATOL)


def pack(state: DiTState) -> tuple[Tensor, Tensor]:
    """The official layout: both convolutions stacked in channels, keys beside values."""
    tails = [torch.cat([b.conv1_tail, b.conv2_tail], dim=-1) for b in state.blocks]
    return (
        torch.stack(tails).transpose(2, 3),
        torch.stack([block.keys_values for block in state.blocks]),
    )
