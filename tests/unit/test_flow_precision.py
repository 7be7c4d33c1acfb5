"""The flow decoder in bfloat16: close to float32, whole and streamed, and float32 untouched."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from test_flow import make_tokens, make_voice, random_flow, seeded
from torch import Tensor

from stepaudio import EditPipeline
from stepaudio.decoder.conformer import ConformerConfig
from stepaudio.decoder.dit import CausalConvBlock, DiTConfig
from stepaudio.decoder.flow import FlowConfig, TokenFlowDecoder
from stepaudio.locate import EMBEDDED
from stepaudio.parts import load_part
from stepaudio.types import SpeechTokens, VoicePrompt

BF16 = torch.bfloat16


def decibels(wanted: Tensor, found: Tensor) -> float:
    """Power of the signal over that of the difference."""
    difference = (wanted - found).double().square().sum()
    return float(10 * torch.log10(wanted.double().square().sum() / difference))


def request(config: FlowConfig, units: int) -> tuple[SpeechTokens, VoicePrompt]:
    """Codes, and a voice a third as long."""
    tokens, heard = make_tokens(units, 0, config.tokens), make_tokens(units // 3, 1, config.tokens)
    mel = torch.randn(config.mel.n_mels, 6 * heard.num_units, generator=seeded(2)) - 4
    speaker = torch.randn(config.speaker_dim, generator=seeded(3))
    return tokens, VoicePrompt(heard, mel, speaker, "", config.mel)


def like_release() -> TokenFlowDecoder:
    """The published proportions and initialisation, zeros replaced so that everything matters."""
    config = replace(
        FlowConfig.release(),
        encoder=ConformerConfig(width=128, heads=2, ffn=512, blocks=2, up_blocks=1),
        velocity=DiTConfig(width=128, depth=4, heads=2),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = TokenFlowDecoder(config)
        for parameter in flow.parameters():
            if parameter.dim() > 1 and not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)
    return flow.eval().requires_grad_(False)


def embedded() -> TokenFlowDecoder:
    flow = load_part(EMBEDDED, "flow")
    assert isinstance(flow, TokenFlowDecoder)
    return flow


@pytest.mark.parametrize(("make", "least"), [(like_release, 40.0), (embedded, 45.0)])
@torch.no_grad()
def test_whole_and_streamed_are_close_to_float32(make, least: float) -> None:
    flow = make()
    half = copy.deepcopy(flow).to(BF16)
    tokens, voice = request(flow.config, 30)

    def whole(model: TokenFlowDecoder) -> Tensor:
        return model.decode([tokens], [voice], generators=[seeded(4)])[0]

    def streamed(model: TokenFlowDecoder) -> Tensor:
        return torch.cat(list(model.stream(iter([tokens]), voice, generator=seeded(4))), dim=-1)

    for decode in (whole, streamed):
        wanted, found = decode(flow), decode(half)
        assert found.dtype == torch.float32
        assert least < decibels(wanted, found) < 100


def test_one_chunk_without_prompt_is_near_the_whole() -> None:
    flow = like_release().to(BF16)
    tokens, voice = make_tokens(5, 3, flow.config.tokens), request(flow.config, 3)[1]
    voice = replace(voice, tokens=make_tokens(0, 0, flow.config.tokens), mel=voice.mel[:, :0])
    whole = flow.decode([tokens], [voice], generators=[seeded(1)])[0]
    (streamed,) = flow.stream(iter([tokens]), voice, generator=seeded(1))
    assert decibels(whole, streamed) > 60


@torch.no_grad()
def test_flow_time_is_not_rounded() -> None:
    model = random_flow().to(BF16)
    x, speaker = torch.randn(1, 6, 8, generator=seeded(0)).to(BF16), torch.zeros(1, 8, dtype=BF16)
    # Both times are 0.5 in bfloat16.
    one, other = (model.estimator(x, torch.tensor([t]), x, speaker, x) for t in (0.5, 0.5005))
    assert not torch.equal(one, other)


@torch.no_grad()
def test_convolutions_read_where_numbers_lie_with_the_same_result() -> None:
    torch.manual_seed(0)
    block = CausalConvBlock(64)
    x, tails = torch.randn(2, 9, 64), torch.randn(2, 2, 2, 64)
    wanted = block(x, *tails)
    found = block.to(BF16)(x.to(BF16), *tails.to(BF16))
    for one, other in zip(wanted, found, strict=True):
        assert one.shape == other.shape
        assert decibels(one, other.float()) > 35


def test_a_batch_of_voices_with_and_without_a_recording() -> None:
    flow = random_flow(mel_scale=2.0).to(BF16)
    tokens, voices = [make_tokens(4, 0), make_tokens(4, 1)], [make_voice(3, 0), make_voice(0, 1, 0)]
    both = flow.decode(tokens, voices, generators=[seeded(0), seeded(1)])
    for i, mel in enumerate(both):
        alone = flow.decode(tokens[i : i + 1], voices[i : i + 1], generators=[seeded(i)])[0]
        assert decibels(alone, mel) > 30


def test_float32_unless_asked() -> None:
    assert embedded().encoder_proj.weight.dtype == torch.float32
    pipe = EditPipeline.from_pretrained(device="cpu", flow_dtype="bfloat16", offload="stage")
    flow = pipe.parts.flow
    assert isinstance(flow, TokenFlowDecoder)
    flow.reload()
    wanted = embedded().to(BF16).state_dict()
    assert all(torch.equal(wanted[name], found) for name, found in flow.state_dict().items())
    for role in ("lm", "tokenizer", "vocoder", "speaker"):
        found = {tensor.dtype for tensor in getattr(pipe.parts, role).parameters()}
        assert found == {torch.float32}
