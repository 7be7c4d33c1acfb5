"""The token encoder against flow_encoder.tiny."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conftest import Golden, assert_close
from flow_golden import encoder_config
from torch import Tensor

from stepaudio.decoder.conformer import ConformerEncoder

ATOL = 5e-5
# Before the final norm the values are large: relative to their maximum.
RELATIVE = 2e-5


@pytest.fixture(scope="module")
def reference(golden: Callable[[str], Golden]) -> Golden:
    return golden("flow_encoder.tiny")


@pytest.fixture(scope="module")
def encoder(reference: Golden) -> ConformerEncoder:
    model = ConformerEncoder(encoder_config(reference.spec["config"]["enc"]))
    prefix = "encoder."
    model.load_state_dict(
        {k[len(prefix) :]: v for k, v in reference.weights().items() if k.startswith(prefix)}
    )
    return model.eval().requires_grad_(False)


def close_to_tap(actual: Tensor, expected: Tensor) -> None:
    assert_close(actual, expected, RELATIVE * expected.abs().max().item())


def test_whole_recording_and_taps(encoder: ConformerEncoder, reference: Golden) -> None:
    seen: dict[str, Tensor] = {}

    def remember(name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, inputs: object, output: Tensor | tuple[Tensor]) -> None:
            seen[name] = output if isinstance(output, Tensor) else output[0]

        return hook

    hooks = [
        encoder.embed.register_forward_hook(remember("after_embed")),
        encoder.pre_lookahead_layer.register_forward_hook(remember("after_lookahead")),
        encoder.encoders[0].register_forward_hook(remember("after_block0")),
        encoder.encoders[-1].register_forward_hook(remember("after_blocks")),
        encoder.up_layer.register_forward_hook(remember("after_up_conv")),
        encoder.up_embed.register_forward_hook(remember("after_up_embed")),
    ]
    out = encoder(reference["xs"])
    for hook in hooks:
        hook.remove()
    for name, value in seen.items():
        close_to_tap(value, reference[name])
    assert_close(out, reference["out"], ATOL)


def test_padded_batch(encoder: ConformerEncoder, reference: Golden) -> None:
    # The published system lets the padding leak into the look-ahead, so the inner call is compared:
    # forward() hides the padding and equals the singles instead.
    embedded = encoder.embed(reference["xb"])
    lengths = torch.tensor(reference.meta["batch_lens"])
    mask = torch.arange(embedded.shape[1]) < lengths[:, None]
    ahead = embedded.new_zeros(len(embedded), encoder.config.lookahead, embedded.shape[2])
    state = encoder.initial_state(len(embedded), like=embedded)
    out, _ = encoder.encode_embedded(embedded, ahead, state, mask)
    frames = mask.repeat_interleave(encoder.config.up_factor, dim=1)
    assert torch.equal(frames, reference["mask_b"][:, 0])
    assert_close(out[frames], reference["out_b"][frames], ATOL)


def test_batch_equals_singles(encoder: ConformerEncoder, reference: Golden) -> None:
    lengths = reference.meta["batch_lens"]
    x = reference["xb"]
    mask = torch.arange(x.shape[1]) < torch.tensor(lengths)[:, None]
    out = encoder(x, mask)
    for row, length, single in zip(out, lengths, x, strict=True):
        alone = encoder(single[None, :length])[0]
        assert_close(row[: len(alone)], alone, ATOL)


def test_stream_and_caches(encoder: ConformerEncoder, reference: Golden) -> None:
    x, sizes = reference["xstream"], reference.meta["chunk_sizes"]
    ahead = reference.meta["lookahead"]
    state = encoder.initial_state(1, like=x)
    outs, states, start = [], [], 0
    for index, size in enumerate(sizes):
        last = index == len(sizes) - 1
        chunk = x[:, start : start + size + (0 if last else ahead)]
        out, state = encoder.stream(chunk, state, last=last)
        outs.append(out)
        states.append(state)
        start += size
    assert [o.shape[1] for o in outs] == reference["out_stream_lens"].tolist()
    assert_close(torch.cat(outs, dim=1), reference["out_stream"], ATOL)

    for state, name in ((states[0], "cache0_cnn"), (states[-1], "last_cnn")):
        packed = torch.cat([state.lookahead_tail, state.up_tail], dim=1).transpose(1, 2)
        close_to_tap(packed, reference[name])
    # The official packing repeats the keys of the 25 Hz layers to the length of the 50 Hz ones.
    frames = states[0].keys_values[-1].shape[2]
    packed = torch.stack(
        [cache.repeat(1, 1, frames // cache.shape[2], 1) for cache in states[0].keys_values]
    )
    close_to_tap(packed, reference["cache0_att"])
    expected = reference["last_att_shape"].tolist()
    assert list(states[-1].keys_values[-1].shape) == expected[1:]
    assert len(states[-1].keys_values) == expected[0]


def test_streaming_has_no_right_context(encoder: ConformerEncoder, reference: Golden) -> None:
    assert_close(encoder(reference["xstream"]), reference["out_full_same_input"], ATOL)
