from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import assert_close
from torch import Tensor

from stepaudio.decoder.conformer import ConformerConfig
from stepaudio.decoder.dit import DiTConfig
from stepaudio.decoder.flow import FlowConfig, TokenFlowDecoder
from stepaudio.decoder.prompt_fit import cut_mel, stretch_mel
from stepaudio.errors import PromptError, SpecMismatchError, TokenError
from stepaudio.interfaces import FlowDecoder
from stepaudio.tokenizers.interleave import interleave, regroup_for_decoder
from stepaudio.types import MelSpec, SpeechTokens, TokenSpec, VoicePrompt


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_tokens(units: int, seed: int, spec: TokenSpec | None = None) -> SpeechTokens:
    spec, generator = spec or FlowConfig.debug().tokens, seeded(seed)
    return SpeechTokens(
        torch.randint(spec.linguistic_size, (2 * units,), generator=generator),
        torch.randint(spec.semantic_size, (3 * units,), generator=generator),
        spec,
    )


def make_voice(units: int, seed: int, frames: int | None = None) -> VoicePrompt:
    config, generator = FlowConfig.debug(), seeded(seed + 100)
    frames = 6 * units + 1 if frames is None else frames
    return VoicePrompt(
        make_tokens(units, seed),
        torch.randn(config.mel.n_mels, frames, generator=generator),
        torch.randn(config.speaker_dim, generator=generator),
        mel_spec=config.mel,
    )


def random_flow(mel_scale: float | None = None) -> TokenFlowDecoder:
    """A debug decoder whose zero-initialised parts are not zero, so that everything matters."""
    model = TokenFlowDecoder(replace(FlowConfig.debug(), mel_scale=mel_scale))
    generator = seeded(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.fixture
def flow() -> TokenFlowDecoder:
    return random_flow()


def test_is_a_flow_decoder_with_a_spec(flow: TokenFlowDecoder) -> None:
    assert isinstance(flow, FlowDecoder)
    assert flow.spec.tokens == flow.config.tokens
    assert flow.spec.mel == flow.config.mel
    assert flow.spec.speaker_dim == flow.config.speaker_dim


def test_a_batch_equals_its_singles(flow: TokenFlowDecoder) -> None:
    sizes = [(4, 2), (1, 0), (7, 3)]
    tokens = [make_tokens(units, seed) for seed, (units, _) in enumerate(sizes)]
    voices = [make_voice(units, seed) for seed, (_, units) in enumerate(sizes)]
    together = flow.decode(tokens, voices, generators=[seeded(i) for i in range(3)])
    assert [mel.shape for mel in together] == [(8, 6 * units) for units, _ in sizes]
    for i, mel in enumerate(together):
        alone = flow.decode(tokens[i : i + 1], voices[i : i + 1], generators=[seeded(i)])[0]
        assert_close(mel, alone, 5e-5)


def test_no_samples_no_mel(flow: TokenFlowDecoder) -> None:
    assert flow.decode([], []) == []


def test_same_seed_same_mel(flow: TokenFlowDecoder) -> None:
    inputs = [make_tokens(2, 0)], [make_voice(1, 0)]
    first, second, third = (flow.decode(*inputs, generators=[seeded(s)])[0] for s in (5, 5, 6))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_every_condition_matters(flow: TokenFlowDecoder) -> None:
    tokens, voice = make_tokens(2, 0), make_voice(1, 0)

    def mel(tokens: SpeechTokens, voice: VoicePrompt, **settings: float) -> Tensor:
        return flow.decode([tokens], [voice], generators=[seeded(0)], **settings)[0]  # type: ignore[arg-type]

    base = mel(tokens, voice)
    for other in (
        mel(make_tokens(2, 1), voice),
        mel(tokens, replace(voice, mel=voice.mel + 1)),
        mel(tokens, replace(voice, speaker=-voice.speaker)),
        mel(tokens, replace(voice, tokens=make_tokens(1, 9))),
        mel(tokens, voice, guidance=0.0),
        mel(tokens, voice, steps=3),
    ):
        assert (other - base).abs().max() > 1e-3


def test_only_the_direction_of_the_speaker_embedding_matters(flow: TokenFlowDecoder) -> None:
    speaker = torch.randn(2, flow.config.speaker_dim, generator=seeded(3))
    assert_close(flow.project_speaker(7 * speaker), flow.project_speaker(speaker), 1e-5)


def test_zero_guidance_is_the_conditional_flow_alone(flow: TokenFlowDecoder) -> None:
    pairs = regroup_for_decoder(interleave(make_tokens(2, 0)), flow.config.tokens)[None]
    mu, mask = flow.encode_tokens(pairs, torch.tensor([6]))
    noise = torch.randn(mu.shape, generator=seeded(0))
    speaker, known = torch.ones(1, 8), torch.zeros_like(mu)
    one = flow.sample(mu, speaker, known, noise, mask, steps=1, guidance=0.0)
    velocity = flow.estimator(noise, torch.zeros(1), mu, speaker, known)
    assert_close(one, noise + velocity, 1e-6)

    empty = flow.estimator(noise, torch.zeros(1), 0 * mu, 0 * speaker, known)
    guided = flow.sample(mu, speaker, known, noise, mask, steps=1, guidance=0.5)
    assert_close(guided, noise + 1.5 * velocity - 0.5 * empty, 1e-5)


def test_a_late_start_keeps_the_token_features(flow: TokenFlowDecoder) -> None:
    mu, noise, speaker = torch.randn(3, 1, 12, 8, generator=seeded(3)).unbind(0)
    known, speaker = torch.zeros_like(mu), speaker[:, 0]
    outs = {}
    for start in (0.0, 0.5, 0.999):
        flow.config = replace(flow.config, start=start)
        times = flow.schedule(4)
        assert times[0] == pytest.approx(start)
        assert times[-1] == pytest.approx(1.0)
        outs[start] = flow.sample(mu, speaker, known, noise, steps=4, guidance=0.0)
    assert_close(outs[0.999], mu, 0.05)
    assert (outs[0.5] - mu).abs().mean() < (outs[0.0] - mu).abs().mean()


def test_midpoint_is_an_option() -> None:
    model = TokenFlowDecoder(replace(FlowConfig.debug(), solver="midpoint"))
    mel = model.decode([make_tokens(1, 0)], [make_voice(1, 0)], generators=[seeded(0)])[0]
    assert mel.shape == (8, 6)


def test_published_rounding_rounds_prompt_and_speaker(flow: TokenFlowDecoder) -> None:
    rounding = TokenFlowDecoder(replace(flow.config, published_rounding=True))
    rounding.load_state_dict(flow.state_dict())
    mel, speaker = torch.randn(8, 5, generator=seeded(1)), torch.randn(1, 12, generator=seeded(2))
    expected = mel.bfloat16().float()
    assert torch.equal(rounding.align_prompt(mel, 5), expected)
    assert torch.equal(
        rounding.project_speaker(speaker), flow.project_speaker(speaker.bfloat16().float())
    )
    assert not torch.equal(flow.align_prompt(mel, 5), expected)


def test_relative_mel_takes_level_and_colour_from_the_prompt() -> None:
    # Another microphone in front of the same voice: the output changes by exactly that.
    colour = torch.linspace(-3, 2, 8)[:, None]
    tokens, voice = make_tokens(3, 0), make_voice(2, 1)
    recoloured = replace(voice, mel=voice.mel + colour)
    for flow, follows in ((random_flow(2.0), True), (random_flow(), False)):
        mel, other = (
            flow.decode([tokens], [v], generators=[seeded(0)])[0] for v in (voice, recoloured)
        )
        assert torch.allclose(other, mel + colour, atol=1e-4) is follows


def test_relative_mel_of_a_voice_without_recording_uses_the_stored_average() -> None:
    flow = random_flow(2.0)
    tokens, voice = make_tokens(3, 0), make_voice(0, 1, frames=0)
    before = flow.decode([tokens], [voice], generators=[seeded(0)])[0]
    flow.get_buffer("average").fill_(1.5)
    after = flow.decode([tokens], [voice], generators=[seeded(0)])[0]
    assert_close(after, before + 1.5, 1e-5)


def test_relative_mel_and_back() -> None:
    flow = random_flow(2.0)
    mel = torch.randn(2, 5, 8, generator=seeded(0))
    average = torch.stack([flow.average_mel(m.T) for m in mel])
    relative = flow.relative_mel(mel, average)
    assert not torch.allclose(relative, mel)
    assert_close(flow.absolute_mel(relative, average), mel, 1e-5)


def test_average_is_of_the_louder_frames() -> None:
    mel = torch.zeros(8, 4)
    mel[:, 2:] = 4.0
    assert_close(random_flow(2.0).average_mel(mel), torch.full((8,), 4.0), 0.0)


def test_stretch_repeats_and_drops_nearest_frames() -> None:
    mel = torch.arange(3.0).expand(2, 3)
    assert stretch_mel(mel, 6)[0].tolist() == [0, 0, 1, 1, 2, 2]
    assert stretch_mel(mel, 2)[0].tolist() == [0, 1]


def test_cut_keeps_the_frames_in_step() -> None:
    mel = torch.arange(10.0).reshape(2, 5)
    assert cut_mel(mel, 3).tolist() == [[0.0, 1.0, 2.0], [5.0, 6.0, 7.0]]
    assert cut_mel(mel, 7)[0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 4.0, 4.0]
    config = replace(FlowConfig.debug(), stretch_prompt=False)
    mel = torch.randn(8, 9)
    assert torch.equal(TokenFlowDecoder(config).align_prompt(mel, 6), mel[:, :6])
    assert not torch.equal(TokenFlowDecoder(FlowConfig.debug()).align_prompt(mel, 6), mel[:, :6])


def test_wrong_inputs_are_named(flow: TokenFlowDecoder) -> None:
    tokens, voice = make_tokens(1, 0), make_voice(1, 0)
    with pytest.raises(TokenError, match="no whole unit"):
        flow.decode([make_tokens(0, 0)], [voice])
    with pytest.raises(PromptError, match="2 token streams"):
        flow.decode([tokens, tokens], [voice])
    with pytest.raises(PromptError, match="mel is empty"):
        flow.decode([tokens], [make_voice(1, 0, frames=0)])
    with pytest.raises(SpecMismatchError, match="front end"):
        flow.decode([tokens], [replace(voice, mel_spec=MelSpec())])
    for mel in (torch.zeros(9, 30), torch.zeros(8), torch.zeros(9, 0)):
        with pytest.raises(SpecMismatchError, match="the voice has a mel of shape"):
            flow.decode([tokens], [replace(voice, mel=mel)])
        with pytest.raises(SpecMismatchError, match="the voice has a mel of shape"):
            flow.decode([tokens], [replace(voice, tokens=make_tokens(0, 0), mel=mel)])
    with pytest.raises(SpecMismatchError, match="codebooks"):
        flow.decode([make_tokens(1, 0, TokenSpec())], [voice])
    with pytest.raises(SpecMismatchError, match="codebooks"):
        flow.decode([tokens], [replace(voice, tokens=make_tokens(1, 0, TokenSpec()))])
    with pytest.raises(SpecMismatchError, match="speaker"):
        flow.decode([tokens], [replace(voice, speaker=torch.zeros(3))])


def test_config_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="n_mels"):
        FlowConfig(velocity=DiTConfig(mel_channels=64))
    with pytest.raises(ValueError, match="start"):
        FlowConfig(start=1.0)
    with pytest.raises(ValueError, match="mel_scale"):
        FlowConfig(mel_scale=0.0)
    with pytest.raises(ValueError, match="frames per second"):
        FlowConfig(mel=MelSpec(hop_length=256))


@pytest.mark.parametrize("lookahead", [-3, 0, 2, 4])
def test_a_look_ahead_that_no_stream_could_wait_for_is_refused(lookahead: int) -> None:
    with pytest.raises(ValueError, match=f"lookahead {lookahead} must be a positive multiple of 3"):
        replace(ConformerConfig.debug(), lookahead=lookahead)


def test_two_units_of_look_ahead_stream_too() -> None:
    config = FlowConfig.debug()
    encoder = replace(config.encoder, lookahead=6)
    model = TokenFlowDecoder(replace(config, encoder=encoder)).eval()
    mels = list(model.stream(iter([make_tokens(30, 0)]), make_voice(1, 0)))
    assert sum(mel.shape[1] for mel in mels) == 180


def test_save_and_load(flow: TokenFlowDecoder, tmp_path: object) -> None:
    flow.save_pretrained(str(tmp_path))
    again = TokenFlowDecoder.from_pretrained(str(tmp_path))
    assert again.config == flow.config
    inputs = [make_tokens(2, 0)], [make_voice(1, 0)]
    before, after = (m.decode(*inputs, generators=[seeded(1)])[0] for m in (flow, again))
    assert torch.equal(before, after)


def toy_batch(config: FlowConfig) -> dict[str, Tensor]:
    """Mel that is a fixed function of the tokens, two recordings of different length."""
    generator = seeded(4)
    rows = [regroup_for_decoder(interleave(make_tokens(u, u)), config.tokens) for u in (4, 6)]
    pairs = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    table = torch.randn(config.tokens.size + 1, config.mel.n_mels, generator=generator)
    mel = table[pairs[..., 1]].repeat_interleave(2, dim=1)
    return {
        "pairs": pairs,
        "lengths": torch.tensor([len(row) for row in rows]),
        "mel": mel,
        "speaker": torch.randn(2, config.speaker_dim, generator=generator),
        "prompt_frames": torch.tensor([6, 0]),
    }


def test_training_loss_falls() -> None:
    torch.manual_seed(0)
    model = TokenFlowDecoder(FlowConfig.debug()).train()
    batch, generator = toy_batch(model.config), seeded(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for _ in range(120):
        losses = model.training_loss(**batch, generator=generator)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        history.append({name: value.item() for name, value in losses.items()})
    for name in ("flow", "prior", "loss"):
        early = sum(step[name] for step in history[:20])
        late = sum(step[name] for step in history[-20:])
        assert late < 0.8 * early, name


def test_training_loss_ignores_padding_and_given_frames(flow: TokenFlowDecoder) -> None:
    batch = toy_batch(flow.config)

    def losses(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return flow.training_loss(**batch, generator=seeded(2), cond_dropout=0.0)

    before = losses(batch)
    batch["mel"][0, 2 * batch["lengths"][0] :] += 100.0
    after = losses(batch)
    for name, value in before.items():
        assert_close(value, after[name], 1e-4)
    assert before["loss"].item() == pytest.approx((before["flow"] + before["prior"]).item())

    everything = dict(batch, prompt_frames=2 * batch["lengths"])
    assert losses(everything)["flow"].item() == 0.0


def test_training_gradients_reach_every_parameter(flow: TokenFlowDecoder) -> None:
    flow.training_loss(**toy_batch(flow.config), generator=seeded(2), cond_dropout=0.0)[
        "loss"
    ].backward()
    missing = [name for name, p in flow.named_parameters() if p.grad is None]
    assert missing == []


def test_full_dropout_hides_the_conditions(flow: TokenFlowDecoder) -> None:
    batch = toy_batch(flow.config)

    def flow_loss(batch: dict[str, Tensor]) -> Tensor:
        return flow.training_loss(**batch, generator=seeded(2), cond_dropout=1.0)["flow"]

    other = dict(batch, speaker=-batch["speaker"], pairs=batch["pairs"].flip(0))
    other["lengths"] = batch["lengths"]
    assert torch.equal(flow_loss(batch), flow_loss(other))


def test_training_loss_wants_aligned_mel(flow: TokenFlowDecoder) -> None:
    batch = toy_batch(flow.config)
    batch["mel"] = batch["mel"][:, :-1]
    with pytest.raises(TokenError, match="does not fit"):
        flow.training_loss(**batch)
