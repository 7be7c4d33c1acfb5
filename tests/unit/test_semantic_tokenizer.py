from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stepaudio.errors import AudioError, CheckpointError
from stepaudio.tokenizers.semantic import SemanticConfig, SemanticTokenizer, code_count, segment

SECOND = 16000


@pytest.fixture(scope="module")
def model() -> SemanticTokenizer:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return SemanticTokenizer(SemanticConfig.debug()).eval()


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.3 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("samples", "codes"),
    [
        (0, 0),
        (479, 0),
        (480, 1),
        (SECOND, 25),
        (30 * SECOND - 1, 750),
        (30 * SECOND, 750),
        (30 * SECOND + 479, 750),
        (30 * SECOND + 480, 751),
        (60 * SECOND, 1500),
        (60 * SECOND + 1, 1500),
        (61 * SECOND, 1525),
    ],
)
def test_length_law(model: SemanticTokenizer, samples: int, codes: int) -> None:
    assert code_count(samples) == codes
    found = model.encode([noise(samples)])[0]
    assert found.shape == (codes,)
    assert found.dtype == torch.int64


@pytest.mark.parametrize(
    "waveform",
    [torch.zeros(1, SECOND), torch.zeros(SECOND, dtype=torch.int16), torch.zeros(1, 1)],
)
def test_refuses_what_is_not_one_channel_of_floats(
    model: SemanticTokenizer, waveform: Tensor
) -> None:
    with pytest.raises(AudioError, match="semantic tokenizer reads one channel"):
        model.encode([noise(SECOND), waveform])


def test_segments_are_independent(model: SemanticTokenizer) -> None:
    waveform = noise(71 * SECOND)
    pieces = [waveform[: 30 * SECOND], waveform[30 * SECOND : 60 * SECOND], waveform[60 * SECOND :]]
    assert [len(piece) for piece in segment(waveform)] == [len(piece) for piece in pieces]
    assert torch.equal(model.encode([waveform])[0], torch.cat(model.encode(pieces)))


def test_batch_equals_singles(model: SemanticTokenizer) -> None:
    lengths = [7777, 16000, 100, 31 * SECOND, 480, 25000, 60 * SECOND, 0, 3333, 16001, 9999]
    waveforms = [noise(length, seed) for seed, length in enumerate(lengths)]
    for waveform, codes in zip(waveforms, model.encode(waveforms), strict=True):
        assert torch.equal(codes, model.encode([waveform])[0])
    assert model.encode([]) == []


def test_padding_changes_nothing(model: SemanticTokenizer) -> None:
    mels = [model.features(noise(length, length)) for length in (5000, 16000, 11111, 640)]
    lengths = torch.tensor([mel.shape[1] for mel in mels])
    batch = nn.utils.rnn.pad_sequence([mel.T for mel in mels], batch_first=True).mT.clone()
    for row, length in zip(batch, lengths.tolist(), strict=True):
        row[:, length:] = 1e3  # garbage in the padding must not be read
    with torch.no_grad():
        hidden, kept = model.hidden(batch, lengths)
        for index, mel in enumerate(mels):
            alone, length = model.hidden(mel[None], lengths[index : index + 1])
            assert int(length) == int(kept[index]) == alone.shape[1]
            assert (hidden[index, : int(length)] - alone[0]).abs().max() < 1e-5
            assert hidden[index, int(length) :].abs().sum() == 0


def test_quantizer_takes_the_nearest_direction(model: SemanticTokenizer) -> None:
    codebook = model.quantizer._codebook.embed.detach()
    wanted = torch.tensor([[5, 17, 4095], [0, 1, 2]])
    assert torch.equal(model.quantize(codebook[wanted] * 40.0), wanted)


def test_quantizer_measures_distance_not_projection() -> None:
    small = SemanticTokenizer(SemanticConfig(width=2, heads=1, depth=0, codes=2, positions=750))
    with torch.no_grad():
        small.quantizer._codebook.embed.copy_(torch.tensor([[0.0, 1.0], [9.0, 9.0]]))
    assert small.quantize(torch.tensor([[1.0, 1.0]])).tolist() == [0]


def test_every_encoder_weight_learns(model: SemanticTokenizer) -> None:
    mel = model.features(noise(8000))
    hidden, _ = model.hidden(mel[None], torch.tensor([mel.shape[1]]))
    grads = torch.autograd.grad(hidden.square().sum(), list(model.encoder.parameters()))
    assert all(torch.isfinite(grad).all() and grad.abs().sum() > 0 for grad in grads)


def test_published_state_dict_names() -> None:
    with torch.device("meta"):
        state = SemanticTokenizer(SemanticConfig.release()).state_dict()
    assert len(state) == 96
    # The position table is the one stored tensor that is not a parameter.
    assert sum(value.numel() for value in state.values()) == 130_629_120


def test_save_and_load(model: SemanticTokenizer, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = SemanticTokenizer.from_pretrained(tmp_path)
    assert again.config == model.config
    waveform = noise(20000)
    assert torch.equal(again.encode([waveform])[0], model.encode([waveform])[0])
    (tmp_path / "config.json").write_text('{"width": 30, "heads": 4}')
    with pytest.raises(CheckpointError, match="multiple of heads"):
        SemanticTokenizer.from_pretrained(tmp_path)


def test_too_long_and_empty_clips_are_refused(model: SemanticTokenizer) -> None:
    with pytest.raises(AudioError, match=r"segment\(\)"):
        model.hidden(torch.zeros(1, 128, 3001), torch.tensor([3001]))
    with pytest.raises(AudioError, match="at least one"):
        model.hidden(torch.zeros(2, 128, 4), torch.tensor([4, 0]))


def test_config_refuses_a_short_position_table() -> None:
    with pytest.raises(ValueError, match="750"):
        SemanticConfig(positions=749)
