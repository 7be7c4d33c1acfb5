"""The whole flow decoder against flow_cfm.tiny and flow_cfm.real."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from conftest import GOLDEN, Golden, assert_close
from flow_golden import flow_config
from torch import Tensor

from stepaudio.decoder.flow import FlowConfig, TokenFlowDecoder
from stepaudio.decoder.flow_matching import cosine_schedule, guide, solve, with_unconditional
from stepaudio.decoder.streaming import continue_stream, start_stream
from stepaudio.hub import load_strict
from stepaudio.tokenizers.interleave import regroup_for_decoder


def load(reference: Golden) -> TokenFlowDecoder:
    config = flow_config(reference.spec["config"], steps=reference.meta["n_timesteps"])
    with torch.device("meta"):
        model = TokenFlowDecoder(config)
    model.to_empty(device="cpu")
    load_strict(model, reference.weights(), "golden weights")
    return model.eval().requires_grad_(False)


def decode(
    model: TokenFlowDecoder, prompt: Tensor, target: Tensor, reference: Golden
) -> tuple[Tensor, Tensor]:
    """Token features and mel ``[1, C, T]`` of the new frames, from the recorded noise."""
    pairs = torch.cat([prompt, target])[None]
    mu, mask = model.encode_tokens(pairs, torch.tensor([pairs.shape[1]]))
    frames = model.config.encoder.up_factor * len(prompt)
    known = torch.zeros_like(mu)
    known[0, :frames] = model.align_prompt(reference["prompt_feat"][0].T, frames).T
    noise = reference["noise"][..., : mu.shape[1]].transpose(1, 2)
    speaker = model.project_speaker(reference["spk"])
    mel = model.sample(mu, speaker, known, noise, mask, guidance=float(reference.meta["cfg_rate"]))
    return mu, mel[:, frames:].transpose(1, 2)


@pytest.fixture(scope="module")
def reference(golden: Callable[[str], Golden]) -> Golden:
    return golden("flow_cfm.tiny")


@pytest.fixture(scope="module")
def model(reference: Golden) -> TokenFlowDecoder:
    return load(reference)


def test_mel_of_every_case(model: TokenFlowDecoder, reference: Golden) -> None:
    prompt = regroup_for_decoder(reference["prompt_mixed"])
    assert torch.equal(prompt, reference["prompt_pairs"][0].long())
    for index in range(len(reference.meta["cases"])):
        target = regroup_for_decoder(reference[f"case{index}_mixed"])
        assert torch.equal(target, reference[f"case{index}_pairs"][0].long())
        mu, mel = decode(model, prompt, target, reference)
        assert_close(mu, reference[f"case{index}_mu"], 5e-5)
        assert_close(mel, reference[f"case{index}_mel"], 1e-4)


def test_conditions(model: TokenFlowDecoder, reference: Golden) -> None:
    aligned = reference["prompt_feat_aligned"][0]
    assert torch.equal(model.align_prompt(reference["prompt_feat"][0].T, len(aligned)).T, aligned)
    assert_close(model.project_speaker(reference["spk"]), reference["spk_proj"], 5e-5)


def test_schedule(reference: Golden) -> None:
    steps = reference.meta["n_timesteps"]
    assert_close(cosine_schedule(steps)[:-1], reference["t_steps"], 1e-6)


def test_first_velocity_with_and_without_conditions(
    model: TokenFlowDecoder, reference: Golden
) -> None:
    mu = reference["case0_mu"]
    aligned = reference["prompt_feat_aligned"]
    known = torch.zeros_like(mu)
    known[:, : aligned.shape[1]] = aligned
    noise = reference["noise"][..., : mu.shape[1]].transpose(1, 2)
    time = reference["t_steps"][:1]
    speaker = model.project_speaker(reference["spk"])
    given = model.estimator(noise, time, mu, speaker, known)
    zero = torch.zeros_like(mu)
    free = model.estimator(noise, time, zero, torch.zeros_like(speaker), zero)
    expected = reference["case0_v_step0"].transpose(1, 2)
    assert_close(torch.cat([given, free]), expected, 1e-4)


def test_state_halfway(model: TokenFlowDecoder, reference: Golden) -> None:
    times = cosine_schedule(reference.meta["n_timesteps"])[:6]
    aligned = reference["prompt_feat_aligned"]
    for index in range(len(reference.meta["cases"])):
        mu = reference[f"case{index}_mu"]
        known = torch.zeros_like(mu)
        known[:, : aligned.shape[1]] = aligned
        speaker = model.project_speaker(reference["spk"])
        both = [with_unconditional(condition) for condition in (mu, speaker, known)]

        def velocity(x: Tensor, t: Tensor, both: list[Tensor] = both) -> Tensor:
            v = model.estimator(torch.cat([x, x]), t.expand(2), *both)
            return guide(v, float(reference.meta["cfg_rate"]))

        noise = reference["noise"][..., : mu.shape[1]].transpose(1, 2)
        halfway = solve(velocity, noise, times).transpose(1, 2)
        assert_close(halfway, reference[f"case{index}_x_step5"], 1e-4)


def test_ragged_batch(model: TokenFlowDecoder, reference: Golden) -> None:
    prompt = regroup_for_decoder(reference["prompt_mixed"])
    names = [f"case{index}" for index in range(len(reference.meta["cases"]))]
    rows = [torch.cat([prompt, regroup_for_decoder(reference[f"{n}_mixed"])]) for n in names]
    lengths = torch.tensor([len(row) for row in rows])
    pairs = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mu, mask = model.encode_tokens(pairs, lengths)
    aligned = reference["prompt_feat_aligned"]
    known = torch.zeros_like(mu)
    known[:, : aligned.shape[1]] = aligned
    noise = reference["noise"].transpose(1, 2)[:, : mu.shape[1]].expand(len(rows), -1, -1)
    speaker = model.project_speaker(reference["spk"]).expand(len(rows), -1)
    mel = model.sample(mu, speaker, known, noise, mask, guidance=float(reference.meta["cfg_rate"]))
    factor = model.config.encoder.up_factor
    for name, row, length in zip(names, mel, lengths.tolist(), strict=True):
        new = row[aligned.shape[1] : factor * length].T[None]
        assert_close(new, reference[f"{name}_mel"], 1e-4)


def test_published_size_whole_and_streamed(golden: Callable[[str], Golden]) -> None:
    # One test, because the 153.75 M values take seconds to make.
    reference = golden("flow_cfm.real")
    model = load(reference)
    prompt, target = reference["prompt_pairs"][0].long(), reference["pairs"][0].long()

    features = model.encoder(model.input_embedding(torch.cat([prompt, target])[None]))
    assert_close(features, reference["enc_out"], 3e-4)
    mu, mel = decode(model, prompt, target, reference)
    assert_close(mu, reference["mu"], 3e-4)
    assert_close(mel, reference["mel"], 3e-4)

    noise = reference["noise"][0].T
    factor, ahead = model.config.encoder.up_factor, model.config.encoder.lookahead
    # The recorded stream: ten positions and their look-ahead, then the rest.
    cut = 10
    heard = factor * len(prompt)
    state = start_stream(
        model,
        prompt,
        target[:ahead],
        reference["prompt_feat"][0].T,
        reference["spk"][0],
        noise[:heard],
        guidance=float(reference.meta["cfg_rate"]),
    )
    middle, end = heard + factor * cut, heard + factor * len(target)
    first, state = continue_stream(
        model, target[: cut + ahead], noise[heard:middle], state, last=False
    )
    second, _ = continue_stream(model, target[cut:], noise[middle:end], state, last=True)
    streamed = torch.cat([first, second], dim=1)[None]
    assert_close(streamed, reference["mel_stream"], 3e-4)


def test_published_keys_and_shapes(fill: ModuleType) -> None:
    spec = fill.load_spec(str(GOLDEN / "specs" / "flow.real.json"))
    with torch.device("meta"):
        state = TokenFlowDecoder(FlowConfig.release()).state_dict()
    published = {entry["name"]: tuple(entry["shape"]) for entry in spec["entries"]}
    assert len(published) == 605
    assert {name: tuple(value.shape) for name, value in state.items()} == published
    assert flow_config(spec["config"]) == FlowConfig.release()
