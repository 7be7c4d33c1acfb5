from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.errors import AudioError
from stepaudio.tokenizers import linguistic, semantic
from stepaudio.tokenizers.dual import DualCodebookConfig, DualCodebookTokenizer
from stepaudio.tokenizers.preprocess import prepare_for_tokens
from stepaudio.types import SpeechTokens, TokenizerSpec, TokenSpec

RATE = 16000


def build(config: DualCodebookConfig) -> DualCodebookTokenizer:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = DualCodebookTokenizer(config).eval()
        # Centroids start at zero and would give one code for everything.
        model.linguistic.codebook.normal_()
    return model


@pytest.fixture(scope="module")
def trimming() -> DualCodebookTokenizer:
    return build(DualCodebookConfig.debug())


@pytest.fixture(scope="module")
def aligned() -> DualCodebookTokenizer:
    return build(dataclasses.replace(DualCodebookConfig.debug(), trim=False))


def noise(samples: int, rate: int = RATE, seed: int = 0) -> Audio:
    generator = torch.Generator().manual_seed(seed)
    return Audio(0.1 * torch.randn(samples, generator=generator), rate)


def same(one: SpeechTokens, other: SpeechTokens) -> bool:
    return torch.equal(one.linguistic, other.linguistic) and torch.equal(
        one.semantic, other.semantic
    )


def units(samples: int) -> int:
    return min(linguistic.code_count(samples) // 2, semantic.code_count(samples) // 3)


@pytest.mark.parametrize("seconds", [1, 30, 60])
@pytest.mark.parametrize("extra", [-1, 0, 1, 479, 480, 7777])
def test_lengths_around_the_segments(
    aligned: DualCodebookTokenizer, seconds: int, extra: int
) -> None:
    audio = noise(seconds * RATE + extra)
    (tokens,) = aligned.encode([audio])
    assert tokens.num_units == units(len(audio))
    assert len(tokens.linguistic) == 2 * tokens.num_units
    assert len(tokens.semantic) == 3 * tokens.num_units
    assert abs(tokens.seconds - audio.seconds) < 0.25


def test_the_end_does_not_reach_back(aligned: DualCodebookTokenizer) -> None:
    """Semantic segments are independent: the first 30 s do not know how the recording goes on."""
    audio = noise(45 * RATE)
    # The peak decides the scale of the whole recording, so it has to be in both.
    samples = audio.samples.clone()
    samples[5] = 0.9
    (long,) = aligned.encode([Audio(samples, RATE)])
    (short,) = aligned.encode([Audio(samples[: 30 * RATE], RATE)])
    assert torch.equal(long.semantic[:750], short.semantic)
    assert torch.equal(long.linguistic[:500], short.linguistic)


@pytest.mark.parametrize("trim", [True, False])
def test_batch_equals_singles(
    trim: bool, trimming: DualCodebookTokenizer, aligned: DualCodebookTokenizer
) -> None:
    model = trimming if trim else aligned
    audios = [
        noise(20000),
        noise(44100, 44100, 1),
        noise(31 * 24000, 24000, 2),
        noise(8000, 8000, 3),
        noise(60 * RATE, RATE, 4),
    ]
    batch = model.encode(audios)
    for audio, tokens in zip(audios, batch, strict=True):
        assert same(tokens, model.encode([audio])[0])
    assert model.encode([]) == []


def test_codes_are_those_of_the_halves(trimming: DualCodebookTokenizer) -> None:
    audio = noise(50000, 24000)
    waveform = prepare_for_tokens(audio.samples, audio.sample_rate)
    (tokens,) = trimming.encode([audio])
    count = tokens.num_units
    assert count == units(len(waveform))
    assert torch.equal(tokens.linguistic, trimming.linguistic.encode([waveform])[0][: 2 * count])
    assert torch.equal(tokens.semantic, trimming.semantic.encode([waveform])[0][: 3 * count])


def test_trimming_drops_silence_and_aligning_keeps_it(
    trimming: DualCodebookTokenizer, aligned: DualCodebookTokenizer
) -> None:
    quiet = torch.zeros(2 * RATE)
    samples: Tensor = torch.cat([quiet, noise(RATE).samples, quiet])
    audio = Audio(samples, RATE)
    assert trimming.encode([audio])[0].seconds < 1.5
    assert aligned.encode([audio])[0].seconds == pytest.approx(5.0, abs=0.25)


def test_short_recordings(trimming: DualCodebookTokenizer, aligned: DualCodebookTokenizer) -> None:
    for samples in (1, 80, 500):
        assert trimming.encode([noise(samples)])[0].num_units >= 2
        with pytest.raises(AudioError, match="recording 1 lasts"):
            aligned.encode([noise(RATE), noise(samples)])


def test_silence_gives_tokens(trimming: DualCodebookTokenizer) -> None:
    (tokens,) = trimming.encode([Audio(torch.zeros(RATE), RATE)])
    assert tokens.num_units > 0


def test_spec_follows_the_codebooks() -> None:
    config = DualCodebookConfig(
        dataclasses.replace(linguistic.LinguisticConfig.debug(), codebook_size=10),
        dataclasses.replace(semantic.SemanticConfig.debug(), codes=20),
    )
    model = build(config)
    assert model.spec == TokenizerSpec(RATE, TokenSpec(10, 20))
    assert model.encode([noise(RATE)])[0].spec == TokenSpec(10, 20)
    assert DualCodebookConfig.release().tokens == TokenSpec()


def test_save_and_load(aligned: DualCodebookTokenizer, tmp_path: Path) -> None:
    aligned.save_pretrained(tmp_path)
    again = DualCodebookTokenizer.from_pretrained(tmp_path)
    assert again.config == aligned.config
    assert same(again.encode([noise(RATE)])[0], aligned.encode([noise(RATE)])[0])
