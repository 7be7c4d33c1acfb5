"""Tiny stand-ins for the interfaces: no learning, exact arithmetic, a millisecond each.

They keep every contract, so tests of pipelines and of the conformance suite can build on them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from stepaudio.audio import Audio
from stepaudio.errors import AudioError, PromptError, SpecMismatchError
from stepaudio.interfaces import (
    FlowDecoder,
    Policy,
    RewardModel,
    SpeakerEncoder,
    SpeechLM,
    TextTokenizer,
    Tokenizer,
    Vocoder,
)
from stepaudio.types import (
    FlowSpec,
    LMSpec,
    MelSpec,
    SamplingParams,
    SpeechTokens,
    StopReason,
    TokenizerSpec,
    TokenSpec,
    TokenStep,
    VoicePrompt,
)

TOKENS = TokenSpec(linguistic_size=8, semantic_size=16)
MEL = MelSpec(n_mels=4, n_fft=960, hop_length=480, win_length=960)
END = 1
LM = LMSpec(vocab_size=40, audio_offset=12, tokens=TOKENS, end_ids=(END,), context_length=64)


class FakeTokenizer(Tokenizer):
    """Codes are the loudness of each token's stretch of the recording."""

    @property
    def spec(self) -> TokenizerSpec:
        return TokenizerSpec(16000, TOKENS)

    def encode(self, audios: Sequence[Audio]) -> list[SpeechTokens]:
        return [self._encode_one(audio) for audio in audios]

    def _encode_one(self, audio: Audio) -> SpeechTokens:
        samples = audio.resample(self.spec.sample_rate).samples
        # 960 samples per linguistic token (2 in 0.12 s), 640 per semantic one (3 in 0.12 s).
        units = len(samples) // 1920
        if not units:
            raise AudioError(f"{audio.seconds} s is shorter than one unit of 0.12 s")
        samples = samples[: units * 1920]

        def codes(span: int, size: int) -> Tensor:
            loudness = samples.reshape(-1, span).abs().mean(1)
            return (loudness * 1000).long() % size

        return SpeechTokens(
            codes(960, TOKENS.linguistic_size), codes(640, TOKENS.semantic_size), TOKENS
        )


class FakeLM(nn.Module, SpeechLM):
    """Logits depend on the running sum of embeddings: causal, and cheap."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.embed = nn.Parameter(torch.randn(LM.vocab_size, 8, generator=generator))
        self.head = nn.Parameter(torch.randn(8, LM.vocab_size, generator=generator))

    @property
    def spec(self) -> LMSpec:
        return LM

    def forward(self, ids: Tensor) -> Tensor:
        return torch.tanh(self.embed[ids].cumsum(1)) @ self.head

    def allowed(self, position: int, sampling: SamplingParams) -> Tensor:
        """``[V]`` bool: ids the grammar allows at this position of the response."""
        mask = torch.zeros(LM.vocab_size, dtype=torch.bool)
        slot = position % TOKENS.unit_length
        split = LM.audio_offset + TOKENS.linguistic_size
        mask[LM.audio_offset : split] = not sampling.constrain or slot < 2
        mask[split : LM.audio_offset + TOKENS.size] = not sampling.constrain or slot >= 2
        may_end = position >= sampling.min_new_tokens and (slot == 0 or not sampling.constrain)
        mask[END] = may_end and position > 0
        return mask

    def draw(
        self, ids: Tensor, position: int, sampling: SamplingParams, rng: torch.Generator | None
    ) -> int:
        logits = self.forward(ids[None])[0, -1]
        logits = logits.masked_fill(~self.allowed(position, sampling), float("-inf"))
        if sampling.temperature == 0:
            return int(logits.argmax())
        if sampling.top_k:
            least = logits.topk(sampling.top_k).values[-1]
            logits = logits.masked_fill(logits < least, float("-inf"))
        weights = (logits / sampling.temperature).softmax(-1)
        return int(torch.multinomial(weights, 1, generator=rng))

    def generate(
        self,
        prompts: Sequence[Tensor],
        sampling: SamplingParams,
        *,
        generators: Sequence[torch.Generator] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Iterator[TokenStep]:
        for prompt in prompts:
            if not 0 < len(prompt) < LM.context_length:
                raise PromptError(f"a prompt of {len(prompt)} ids does not fit")
        rows = [prompt.clone() for prompt in prompts]
        reasons: list[StopReason] = ["running"] * len(rows)
        position = 0
        while "running" in reasons:
            ids = torch.zeros(len(rows), dtype=torch.int64)
            active = torch.zeros(len(rows), dtype=torch.bool)
            cancelled = cancel is not None and cancel()
            for i, row in enumerate(rows):
                if reasons[i] != "running":
                    continue
                if cancelled:
                    reasons[i] = "cancelled"
                elif position >= sampling.max_new_tokens or len(row) >= LM.context_length:
                    reasons[i] = "length"
                else:
                    token = self.draw(
                        row, position, sampling, generators[i] if generators else None
                    )
                    if token == END:
                        reasons[i] = "end"
                    else:
                        rows[i] = torch.cat([row, torch.tensor([token])])
                        ids[i], active[i] = token, True
            position += 1
            yield TokenStep(ids, active, tuple(reasons))


class FakeFlowDecoder(FlowDecoder):
    """Each unit becomes six frames of its mean codes plus a little noise, at once."""

    has_steps = False
    has_guidance = False

    @property
    def spec(self) -> FlowSpec:
        return FlowSpec(TOKENS, MEL, speaker_dim=3)

    def decode(
        self,
        tokens: Sequence[SpeechTokens],
        voices: Sequence[VoicePrompt],
        *,
        steps: int | None = None,
        guidance: float | None = None,
        generators: Sequence[torch.Generator] | None = None,
    ) -> list[Tensor]:
        if len(tokens) != len(voices):
            raise SpecMismatchError(f"{len(tokens)} streams need as many voices, got {len(voices)}")
        return [
            self._frames(stream, voice, generators[i] if generators else None)
            for i, (stream, voice) in enumerate(zip(tokens, voices, strict=True))
        ]

    def stream(
        self,
        tokens: Iterator[SpeechTokens],
        voice: VoicePrompt,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Tensor]:
        for piece in tokens:
            yield self._frames(piece, voice, generator)

    def _frames(
        self, tokens: SpeechTokens, voice: VoicePrompt, generator: torch.Generator | None
    ) -> Tensor:
        if voice.speaker.shape != (self.spec.speaker_dim,):
            raise SpecMismatchError(f"speaker of shape {tuple(voice.speaker.shape)} does not fit")
        if voice.mel_spec != MEL or not voice.tokens.spec == tokens.spec == TOKENS:
            raise SpecMismatchError("mel or codebooks do not fit")
        units = tokens.num_units
        level = tokens.semantic[: 3 * units].reshape(units, 3).float().mean(1) / 4
        mel = level.repeat_interleave(6).expand(MEL.n_mels, -1) + voice.speaker.mean()
        return mel + 0.01 * torch.randn(mel.shape, generator=generator)


class FakeVocoder(Vocoder):
    """A hum whose loudness follows the mean of each frame."""

    @property
    def spec(self) -> MelSpec:
        return MEL

    def synthesize(self, mel: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        if mel.dim() != 3 or mel.shape[1] != MEL.n_mels:
            raise SpecMismatchError(f"mel must be [B, {MEL.n_mels}, T], got {tuple(mel.shape)}")
        hum = torch.sin(torch.arange(MEL.hop_length) * (2 * torch.pi * 4 / MEL.hop_length))
        return (torch.sigmoid(mel.mean(1))[:, :, None] * hum).flatten(1)

    def stream(
        self, mels: Iterator[Tensor], *, generator: torch.Generator | None = None
    ) -> Iterator[Tensor]:
        for mel in mels:
            yield self.synthesize(mel[None])[0]


class FakeSpeakerEncoder(SpeakerEncoder):
    """Loudness of eight bands of the spectrum."""

    @property
    def dim(self) -> int:
        return 8

    def embed(self, audio: Audio) -> Tensor:
        spectrum = torch.fft.rfft(audio.resample(16000).samples, n=16000).abs()
        return torch.stack([band.mean() for band in spectrum.tensor_split(self.dim)])


class FakeTextTokenizer(TextTokenizer):
    """Bytes, after the marks of prompts and before the audio tokens."""

    MARKS = ("<s>", "<|BOT|>", "<|EOT|>")

    def __init__(self) -> None:
        audio = [f"<audio_{k}>" for k in range(TOKENS.size)]
        self.names = [*self.MARKS, *(f"<0x{byte:02X}>" for byte in range(256)), *audio]
        self.literal = re.compile("(" + "|".join(map(re.escape, [*self.MARKS, *audio])) + ")")

    @property
    def vocab_size(self) -> int:
        return len(self.names)

    def token_id(self, token: str) -> int:
        if token not in self.names:
            raise KeyError(token)
        return self.names.index(token)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for number, part in enumerate(self.literal.split(text)):
            ids += [self.token_id(part)] if number % 2 else [3 + byte for byte in part.encode()]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        parts = [bytes([i - 3]) if 3 <= i < 259 else self.names[i].encode() for i in ids]
        return b"".join(parts).decode()


class FakeRewardModel(RewardModel):
    """Likes responses whose ids are large."""

    @property
    def spec(self) -> LMSpec:
        return LM

    def score(self, prompts: Sequence[Tensor], responses: Sequence[Tensor]) -> Tensor:
        if len(prompts) != len(responses):
            raise PromptError(f"{len(prompts)} prompts need as many responses")
        return torch.stack([response.float().mean() for response in responses])


class FakePolicy(Policy):
    """One model that moves, one that does not, and a value head on running sums."""

    def __init__(self) -> None:
        self._lm = FakeLM()
        self._reference = FakeLM().requires_grad_(False)
        self.value_head = nn.Parameter(torch.linspace(-1, 1, 8))

    @property
    def lm(self) -> FakeLM:
        return self._lm

    @property
    def reference(self) -> FakeLM:
        return self._reference

    def sample(
        self,
        prompts: Sequence[Tensor],
        sampling: SamplingParams,
        *,
        generators: Sequence[torch.Generator] | None = None,
    ) -> list[Tensor]:
        steps = list(self.lm.generate(prompts, sampling, generators=generators))
        ids = torch.stack([step.ids for step in steps], dim=1)
        active = torch.stack([step.active for step in steps], dim=1)
        return [row[mask] for row, mask in zip(ids, active, strict=True)]

    def log_probs(self, prompts: Sequence[Tensor], responses: Sequence[Tensor]) -> list[Tensor]:
        rows = []
        for prompt, response in self._pairs(prompts, responses):
            logits = self.lm(torch.cat([prompt, response])[None, :-1])[0, len(prompt) - 1 :]
            rows.append(logits.log_softmax(-1).gather(1, response[:, None])[:, 0])
        return rows

    def values(self, prompts: Sequence[Tensor], responses: Sequence[Tensor]) -> list[Tensor]:
        rows = []
        for prompt, response in self._pairs(prompts, responses):
            hidden = torch.tanh(self.lm.embed[torch.cat([prompt, response])].cumsum(0))
            rows.append(hidden[len(prompt) - 1 :] @ self.value_head)
        return rows

    @staticmethod
    def _pairs(
        prompts: Sequence[Tensor], responses: Sequence[Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        if len(prompts) != len(responses):
            raise PromptError(f"{len(prompts)} prompts need as many responses")
        return list(zip(prompts, responses, strict=True))
