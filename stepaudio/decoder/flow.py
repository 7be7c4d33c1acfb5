"""The flow decoder: speech tokens and a voice to mel frames (paper section 2.3).

Tokens of the voice prompt and of the new speech go through the token encoder together; a flow
conditioned on its features, on the speaker and on the prompt's mel then fills in the new frames.
Published system, section "flow decoder".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from stepaudio.decoder.conformer import ConformerEncoder
from stepaudio.decoder.dit import DiT
from stepaudio.decoder.flow_config import FlowConfig
from stepaudio.decoder.flow_matching import (
    cosine_schedule,
    guide,
    masked_mean,
    solve,
    transport_pair,
    warp_time,
    with_unconditional,
)
from stepaudio.decoder.prompt_fit import cut_mel, stretch_mel
from stepaudio.decoder.streaming import MelStream
from stepaudio.errors import PromptError, SpecMismatchError, TokenError
from stepaudio.hub import Pretrained
from stepaudio.interfaces import FlowDecoder
from stepaudio.tokenizers.interleave import interleave, regroup_for_decoder
from stepaudio.types import FlowSpec, SpeechTokens, VoicePrompt

__all__ = ["FlowConfig", "TokenFlowDecoder"]


class TokenEmbedding(nn.Module):
    """One table for both columns of a token pair; the two halves are concatenated."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, width // 2)

    def forward(self, pairs: Tensor) -> Tensor:
        """``[B, N, 2]`` int64 to ``[B, N, C]``."""
        y: Tensor = self.embedding(pairs).flatten(-2)
        return y


class TokenFlowDecoder(Pretrained, FlowDecoder):
    """The published flow decoder; parameters have the published names."""

    config_class = FlowConfig

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config: FlowConfig = config
        mels, width = config.mel.n_mels, config.encoder.width
        # Values 0..size: both codebooks and the blank between them.
        self.input_embedding = TokenEmbedding(config.tokens.size + 1, width)
        self.spk_embed_affine_layer = nn.Linear(config.speaker_dim, mels)
        self.encoder = ConformerEncoder(config.encoder)
        self.encoder_proj = nn.Linear(width, mels)
        self.decoder = nn.ModuleDict({"estimator": DiT(config.velocity)})
        if config.mel_scale is not None:
            #: Average spectrum of a voice known by its embedding only, ``[C]``.
            self.register_buffer("average", torch.zeros(mels))

    @property
    def spec(self) -> FlowSpec:
        """Token pattern read, mel written, speaker embedding size."""
        return FlowSpec(self.config.tokens, self.config.mel, self.config.speaker_dim)

    @property
    def estimator(self) -> DiT:
        """The velocity network."""
        estimator = self.decoder["estimator"]
        assert isinstance(estimator, DiT)
        return estimator

    def encode_tokens(self, pairs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Token features, a first guess of the mel (of the relative one if ``mel_scale`` is set).

        Args:
            pairs: ``[B, N, 2]`` int64, right-padded, from
                :func:`~stepaudio.tokenizers.interleave.regroup_for_decoder`.
            lengths: ``[B]`` real positions of each sample.

        Returns:
            ``mu`` ``[B, 2 N, C]`` (zeros where padded) and ``[B, 2 N]`` bool, True at real frames.
        """
        mask = torch.arange(pairs.shape[1], device=pairs.device) < lengths[:, None]
        features = self.encoder(self.input_embedding(pairs), _unless_full(mask))
        mask = mask.repeat_interleave(self.config.encoder.up_factor, dim=1)
        return self.encoder_proj(features) * mask[..., None], mask

    def project_speaker(self, speaker: Tensor) -> Tensor:
        """Speaker embeddings to mel channels: unit length, then an affine map.

        Args:
            speaker: ``[B, D]``.

        Returns:
            ``[B, C]``.
        """
        if self.config.published_rounding:
            speaker = speaker.bfloat16()
        weight = self.spk_embed_affine_layer.weight
        unit = functional.normalize(speaker.to(weight.device, torch.float32), dim=1)
        y: Tensor = self.spk_embed_affine_layer(unit.to(weight.dtype))
        return y

    def align_prompt(self, mel: Tensor, frames: int) -> Tensor:
        """The prompt's mel on the grid of its tokens.

        Args:
            mel: ``[C, T]``.
            frames: ``up_factor`` times the token steps of the prompt.

        Returns:
            ``[C, frames]``.
        """
        if self.config.published_rounding:
            mel = mel.bfloat16()
        fit = stretch_mel if self.config.stretch_prompt else cut_mel
        return fit(mel.float(), frames)

    def average_mel(self, mel: Tensor) -> Tensor:
        """What the flow's mel is relative to: the average of the louder frames of a recording.

        Args:
            mel: ``[C, T]`` log-mel; ``T`` may be 0, which stands for a voice without a recording.

        Returns:
            ``[C]``; zeros if ``mel_scale`` is None.
        """
        if self.config.mel_scale is None:
            return self.encoder_proj.weight.new_zeros(len(mel))
        if not mel.shape[-1]:
            return self.get_buffer("average")
        level = mel.mean(dim=0)
        return mel[:, level >= level.mean()].mean(dim=1)

    def _prompt_averages(self, mel: Tensor, given: Tensor) -> Tensor:
        """:meth:`average_mel` of every row's prompt, ``[B, C]``, without asking the device."""
        if self.config.mel_scale is None:
            return mel.new_zeros(len(mel), mel.shape[-1])
        level = mel.mean(dim=-1)
        mean = (level * given).sum(dim=1) / given.sum(dim=1).clamp(min=1)
        loud = given & (level >= mean[:, None])
        average = (mel * loud[..., None]).sum(dim=1) / loud.sum(dim=1).clamp(min=1)[:, None]
        return torch.where(given.any(dim=1)[:, None], average, self.get_buffer("average"))

    def relative_mel(self, mel: Tensor, average: Tensor) -> Tensor:
        """Log-mel to what the flow works on: the same unless ``mel_scale`` is set.

        Args:
            mel: ``[..., T, C]``.
            average: ``[..., C]`` from :meth:`average_mel`.

        Returns:
            Like ``mel``.
        """
        scale = self.config.mel_scale
        return mel if scale is None else (mel - average[..., None, :]) / scale

    def absolute_mel(self, mel: Tensor, average: Tensor) -> Tensor:
        """The inverse of :meth:`relative_mel`.

        Args:
            mel: ``[..., T, C]``.
            average: ``[..., C]``.

        Returns:
            Like ``mel``.
        """
        scale = self.config.mel_scale
        return mel if scale is None else mel * scale + average[..., None, :]

    def sample(
        self,
        mu: Tensor,
        speaker: Tensor,
        known: Tensor,
        noise: Tensor,
        mask: Tensor | None = None,
        *,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> Tensor:
        """Integrate the flow from noise to mel.

        Args:
            mu: ``[B, T, C]`` from :meth:`encode_tokens`.
            speaker: ``[B, C]`` from :meth:`project_speaker`.
            known: ``[B, T, C]`` the prompt's mel from :meth:`relative_mel`, zeros elsewhere.
            noise: ``[B, T, C]`` standard normal.
            mask: ``[B, T]`` True at real frames; None if all are.
            steps: solver steps; None uses the configured number.
            guidance: guidance rate; None uses the configured one, 0 halves the work.

        Returns:
            ``[B, T, C]``, prompt frames included, for :meth:`absolute_mel`.
        """
        rate = self.config.guidance if guidance is None else guidance
        times = self.schedule(steps).to(mu.device)
        start = self.start_point(noise, mu)
        mask = None if mask is None else _unless_full(mask)
        if rate:
            mu, speaker, known = (with_unconditional(c) for c in (mu, speaker, known))
            mask = None if mask is None else torch.cat([mask, mask])

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            x = (torch.cat([x, x]) if rate else x).to(mu.dtype)
            v = self.estimator(x, t[None], mu, speaker, known, mask).float()
            return guide(v, rate) if rate else v

        return solve(velocity, start, times, self.config.solver)

    def schedule(self, steps: int | None = None) -> Tensor:
        """Times between the solver steps.

        Args:
            steps: number of steps; None uses the configured number.

        Returns:
            ``[steps + 1]`` from the configured start to 1.
        """
        start = self.config.start
        times = cosine_schedule(self.config.steps if steps is None else steps)
        return start + (1.0 - start) * times if start else times

    def start_point(self, noise: Tensor, mu: Tensor) -> Tensor:
        """What the flow begins with.

        Args:
            noise: ``[B, T, C]`` standard normal.
            mu: ``[B, T, C]`` token features.

        Returns:
            ``[B, T, C]`` float32.
        """
        point = noise.float() * self.config.temperature
        start = self.config.start
        return (1.0 - start) * point + start * mu.float() if start else point

    @torch.no_grad()
    def decode(
        self,
        tokens: Sequence[SpeechTokens],
        voices: Sequence[VoicePrompt],
        *,
        steps: int | None = None,
        guidance: float | None = None,
        generators: Sequence[torch.Generator] | None = None,
    ) -> list[Tensor]:
        """Decode a batch; every sample comes out as it would alone.

        Args:
            tokens: one stream per sample.
            voices: one voice per sample.
            steps: solver steps; None uses the configured number.
            guidance: guidance rate; None uses the configured one, 0 halves the work.
            generators: one per sample.

        Returns:
            ``[C, T_i]`` log-mel per sample, without the prompt.

        Raises:
            TokenError: a stream without a whole unit.
            PromptError: a voice with tokens but no mel, or a list of another length.
            SpecMismatchError: codebooks, mel or speaker size of an input differ from the config.
        """
        if not len(tokens) == len(voices) == len(generators or tokens):
            raise PromptError(
                f"{len(tokens)} token streams need as many voices and generators, got "
                f"{len(voices)} and {'no' if generators is None else len(generators)}"
            )
        if not tokens:
            return []
        device = self.encoder_proj.weight.device
        prompts = [self.prompt_pairs(voice) for voice in voices]
        targets = [self._target_pairs(t) for t in tokens]
        rows = [torch.cat([p, t.to(p.device)]) for p, t in zip(prompts, targets, strict=True)]
        lengths = torch.tensor([len(row) for row in rows], device=device)
        pairs = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
        mu, mask = self.encode_tokens(pairs, lengths)

        factor = self.config.encoder.up_factor
        known, noise = torch.zeros_like(mu), mu.new_zeros(mu.shape, dtype=torch.float32)
        averages = torch.stack([self.average_mel(voice.mel.to(device)) for voice in voices])
        for i, (prompt, voice) in enumerate(zip(prompts, voices, strict=True)):
            if len(prompt):
                frames = factor * len(prompt)
                aligned = self.align_prompt(voice.mel.to(device), frames).T
                known[i, :frames] = self.relative_mel(aligned, averages[i])
            frames = factor * len(rows[i])
            generator = generators[i] if generators else None
            noise[i, :frames] = _normal(frames, mu.shape[-1], generator).to(device)
        speaker = self.project_speaker(torch.stack([voice.speaker for voice in voices]))
        mel = self.sample(mu, speaker, known, noise, mask, steps=steps, guidance=guidance)
        mel = self.absolute_mel(mel, averages)
        return [
            mel[i, factor * len(prompts[i]) : factor * len(rows[i])].T for i in range(len(rows))
        ]

    def prompt_pairs(self, voice: VoicePrompt) -> Tensor:
        """The prompt's tokens as the encoder reads them.

        Args:
            voice: checked against the config.

        Returns:
            ``[N, 2]`` int64; empty for a voice without tokens, known by its speaker embedding only.

        Raises:
            PromptError: tokens without mel.
            SpecMismatchError: codebooks, mel or speaker size differ from the config.
        """
        if voice.mel_spec != self.config.mel:
            raise SpecMismatchError(
                f"the voice's mel was made by {voice.mel_spec} but the flow decoder reads "
                f"{self.config.mel}; make the voice with this decoder's front end"
            )
        if voice.mel.dim() != 2 or len(voice.mel) != self.config.mel.n_mels:
            raise SpecMismatchError(
                f"the voice has a mel of shape {tuple(voice.mel.shape)} but its front end writes "
                f"[{self.config.mel.n_mels}, T]; make the voice from audio"
            )
        if voice.tokens.spec != self.config.tokens:
            raise SpecMismatchError(
                f"the voice has codebooks {voice.tokens.spec} but the flow decoder reads "
                f"{self.config.tokens}; tokenize it with this pipeline's tokenizer"
            )
        if voice.speaker.shape != (self.config.speaker_dim,):
            raise SpecMismatchError(
                f"the voice has a speaker embedding of shape {tuple(voice.speaker.shape)} but "
                f"the flow decoder reads ({self.config.speaker_dim},)"
            )
        if not voice.tokens.num_units:
            return torch.zeros(0, 2, dtype=torch.int64, device=voice.tokens.semantic.device)
        if not voice.mel.shape[-1]:
            raise PromptError("the voice has tokens but its mel is empty; make it from audio")
        return regroup_for_decoder(interleave(voice.tokens), voice.tokens.spec)

    def _target_pairs(self, tokens: SpeechTokens) -> Tensor:
        self._check_codebooks(tokens)
        if not tokens.num_units:
            raise TokenError("there is no whole unit of tokens to decode")
        return regroup_for_decoder(interleave(tokens), tokens.spec)

    def _check_codebooks(self, tokens: SpeechTokens) -> None:
        if tokens.spec != self.config.tokens:
            raise SpecMismatchError(
                f"tokens have codebooks {tokens.spec} but the flow decoder reads "
                f"{self.config.tokens}"
            )

    def stream(
        self,
        tokens: Iterator[SpeechTokens],
        voice: VoicePrompt,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Tensor]:
        """Decode tokens as they come, in growing chunks.

        Args:
            tokens: consecutive pieces of whole units; a piece may be empty.
            voice: the voice of the whole stream.
            steps: solver steps; None uses the configured number.
            guidance: guidance rate; None uses the configured one.
            generator: source of noise.

        Yields:
            Consecutive ``[C, t]`` pieces of log-mel. Nothing if there are no codes at all, which
            only :meth:`decode` refuses: a stream may end before anything was said.

        Raises:
            TokenError: a piece is not whole units.
            SpecMismatchError: codebooks, mel or speaker size of an input differ from the config.
        """
        mels = MelStream(self, voice, steps=steps, guidance=guidance, generator=generator)
        for number, piece in enumerate(tokens):
            self._check_codebooks(piece)
            ids = interleave(piece)
            if len(ids) != len(piece.linguistic) + len(piece.semantic):
                # What is dropped in the middle of a stream would be missing from what is said.
                raise TokenError(
                    f"piece {number} of the stream has {len(piece.linguistic)} linguistic and "
                    f"{len(piece.semantic)} semantic codes, which are not whole units of "
                    f"{piece.spec.linguistic.per_unit} and {piece.spec.semantic.per_unit}; hold "
                    "the rest back for the next piece, or drop it at the end with truncate"
                )
            yield from mels.push(ids)
        yield from mels.finish()

    def training_loss(
        self,
        pairs: Tensor,
        lengths: Tensor,
        mel: Tensor,
        speaker: Tensor,
        prompt_frames: Tensor,
        generator: torch.Generator | None = None,
        *,
        cond_dropout: float = 0.2,
        prior_weight: float = 1.0,
    ) -> dict[str, Tensor]:
        """Flow-matching loss on the frames after the prompt, plus a loss on the token features.

        The prior loss is not published; it gives small models a useful ``mu`` much earlier.

        Args:
            pairs: ``[B, N, 2]`` int64, right-padded.
            lengths: ``[B]`` real positions.
            mel: ``[B, up_factor * N, C]`` of the same recordings.
            speaker: ``[B, D]`` speaker embeddings.
            prompt_frames: ``[B]`` leading frames whose mel is given to the network.
            generator: source of time, noise and dropout.
            cond_dropout: share of samples that see neither tokens, speaker nor prompt, which is
                what classifier-free guidance needs.
            prior_weight: weight of the mean absolute difference of ``mu`` and ``mel``.

        Returns:
            Scalars ``"loss"``, ``"flow"`` and ``"prior"``; ``loss = flow + weight * prior``.

        Raises:
            TokenError: mel and tokens differ in length.
        """
        mu, mask = self.encode_tokens(pairs, lengths)
        if mel.shape != mu.shape:
            raise TokenError(
                f"mel of shape {tuple(mel.shape)} does not fit {pairs.shape[1]} token positions; "
                f"expected {tuple(mu.shape)}"
            )
        given = torch.arange(mel.shape[1], device=mel.device) < prompt_frames[:, None]
        mel = self.relative_mel(mel, self._prompt_averages(mel, given))
        source = generator.device if generator is not None else mel.device
        draws = torch.rand(2, len(mel), generator=generator, device=source).to(mel.device)
        noise = torch.randn(mel.shape, generator=generator, device=source).to(mel)
        point, target = transport_pair(mel, noise, t := warp_time(draws[0]).to(mel.dtype))

        keep = (draws[1] >= cond_dropout).to(mel.dtype)[:, None]
        velocity = self.estimator(
            point,
            t,
            mu * keep[..., None],
            self.project_speaker(speaker) * keep,
            mel * given[..., None] * keep[..., None],
            _unless_full(mask),
        )
        flow = masked_mean((velocity - target).square(), mask & ~given)
        prior = masked_mean((mu - mel).abs(), mask)
        return {"loss": flow + prior_weight * prior, "flow": flow, "prior": prior}


def _unless_full(mask: Tensor) -> Tensor | None:
    """The mask, or None where it hides nothing: attention without a mask is faster."""
    return None if bool(mask.all()) else mask


def _normal(frames: int, channels: int, generator: torch.Generator | None) -> Tensor:
    device = generator.device if generator is not None else None
    return torch.randn(frames, channels, generator=generator, device=device)
