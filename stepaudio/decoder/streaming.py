"""Tokens to mel while the tokens are still being made.

Published system, section "streaming": the voice prompt is read once, then chunks of growing
length are decoded as soon as their look-ahead has come; each looks back at the prompt and at a
bounded number of recent frames, so the cost of a chunk does not grow with the recording.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stepaudio.decoder.chunking import Chunk, ChunkPolicy, IdBuffer
from stepaudio.decoder.conformer import EncoderState
from stepaudio.decoder.dit import DiTState
from stepaudio.decoder.flow_matching import guide, solve, with_unconditional
from stepaudio.errors import SpecMismatchError
from stepaudio.types import VoicePrompt

if TYPE_CHECKING:
    from stepaudio.decoder.flow import TokenFlowDecoder

__all__ = ["FlowState", "MelStream", "continue_stream", "start_stream"]


@dataclass(frozen=True)
class FlowState:
    """What the decoder remembers between two chunks of a stream. Immutable.

    Attributes:
        encoder: state of the token encoder.
        velocity: state of the velocity network, one per evaluation that the solver makes.
        speaker: ``[1, C]`` projected speaker embedding.
        times: ``[steps + 1]`` solver schedule of the whole stream.
        guidance: guidance rate of the whole stream.
        prompt_frames: frames of the voice prompt, kept when the state is cut.
        average: ``[C]`` what the flow's mel is relative to; zeros as published.
    """

    encoder: EncoderState
    velocity: tuple[DiTState | None, ...]
    speaker: Tensor
    times: Tensor
    guidance: float
    prompt_frames: int
    average: Tensor

    @property
    def cached_frames(self) -> int:
        """Frames the velocity network can still look back at."""
        first = self.velocity[0]
        return 0 if first is None else first.frames

    def truncate(self, recent: int) -> FlowState:
        """Forget all frames but the prompt's and ``recent`` others; see :meth:`DiTState.truncate`.

        The token encoder keeps its keys of the whole stream, as published.

        Args:
            recent: frames to keep besides the prompt.

        Returns:
            The shortened state.
        """
        cut = tuple(s and s.truncate(recent, self.prompt_frames) for s in self.velocity)
        return replace(self, velocity=cut)


@torch.no_grad()
def start_stream(
    flow: TokenFlowDecoder,
    prompt: Tensor,
    ahead: Tensor,
    mel: Tensor,
    speaker: Tensor,
    noise: Tensor,
    *,
    steps: int | None = None,
    guidance: float | None = None,
) -> FlowState:
    """Read the voice prompt once; every chunk of the stream then looks back at it.

    Args:
        flow: the decoder.
        prompt: ``[N, 2]`` pairs of the prompt; may be empty.
        ahead: ``[lookahead, 2]`` first pairs of the new speech.
        mel: ``[C, T]`` of the prompt.
        speaker: ``[D]`` speaker embedding.
        noise: ``[up_factor * N, C]`` standard normal.
        steps: solver steps; None uses the configured number.
        guidance: guidance rate; None uses the configured one.

    Returns:
        The state before the first chunk.
    """
    config = flow.config
    times = flow.schedule(steps)
    evaluations = (len(times) - 1) * (2 if config.solver == "midpoint" else 1)
    projected = flow.project_speaker(speaker[None])
    state = FlowState(
        flow.encoder.initial_state(1, like=projected),
        (None,) * evaluations,
        projected,
        times.to(projected.device),
        config.guidance if guidance is None else guidance,
        config.encoder.up_factor * len(prompt),
        flow.average_mel(mel.to(projected.device)),
    )
    if not len(prompt):
        return state
    aligned = flow.align_prompt(mel.to(projected.device), state.prompt_frames).T
    known = flow.relative_mel(aligned, state.average)
    pairs = torch.cat([prompt, ahead.to(prompt.device)])
    return _decode_chunk(flow, pairs, known, noise, state, last=False)[1]


@torch.no_grad()
def continue_stream(
    flow: TokenFlowDecoder, pairs: Tensor, noise: Tensor, state: FlowState, *, last: bool
) -> tuple[Tensor, FlowState]:
    """Decode the next chunk; its frames see each other and everything cached.

    Not equal to decoding the whole at once, where frames also see later chunks.

    Args:
        flow: the decoder.
        pairs: ``[N + lookahead, 2]``, the last ``lookahead`` of which are given again at the
            start of the next chunk; ``[N, 2]`` for the last chunk.
        noise: ``[up_factor * N, C]`` standard normal.
        state: from :func:`start_stream` or the previous chunk.
        last: nothing follows.

    Returns:
        ``[C, up_factor * N]`` log-mel and the state after the chunk.
    """
    mel, state = _decode_chunk(flow, pairs, torch.zeros_like(noise), noise, state, last=last)
    return flow.absolute_mel(mel, state.average).T, state


def _decode_chunk(
    flow: TokenFlowDecoder,
    pairs: Tensor,
    known: Tensor,
    noise: Tensor,
    state: FlowState,
    *,
    last: bool,
) -> tuple[Tensor, FlowState]:
    speaker, rate = state.speaker, state.guidance
    embedded = flow.input_embedding(pairs[None].to(speaker.device))
    features, encoder = flow.encoder.stream(embedded, state.encoder, last=last)
    mu, known = flow.encoder_proj(features), known[None].to(speaker)
    start = flow.start_point(noise[None].to(mu.device), mu)
    if rate:
        mu, speaker, known = (with_unconditional(c) for c in (mu, speaker, known))
    before = iter(state.velocity)
    after: list[DiTState] = []

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        x = (torch.cat([x, x]) if rate else x).to(mu.dtype)
        v, cache = flow.estimator.stream(x, t[None], mu, speaker, known, next(before))
        after.append(cache)
        return guide(v.float(), rate) if rate else v.float()

    mel = solve(velocity, start, state.times, flow.config.solver)
    return mel[0], replace(state, encoder=encoder, velocity=tuple(after))


class MelStream:
    """One running stream: push audio ids, get mel."""

    def __init__(
        self,
        flow: TokenFlowDecoder,
        voice: VoicePrompt,
        policy: ChunkPolicy | None = None,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> None:
        """Check the voice; nothing is computed yet.

        Args:
            flow: the decoder.
            voice: of the whole stream.
            policy: chunk sizes; None means the published ones.
            steps: solver steps; None uses the decoder's own default.
            guidance: guidance rate; None uses the decoder's own default.
            generator: source of fresh noise for every frame.
            noise: ``[T, C]`` used instead, as published: a chunk takes its noise at the position
                of the frames still cached, so that a long stream reads the same noise again.

        Raises:
            SpecMismatchError: the voice or the policy does not fit the decoder.
        """
        ahead = flow.config.encoder.lookahead
        self._policy = policy or ChunkPolicy(lookahead=ahead)
        if self._policy.lookahead != ahead:
            raise SpecMismatchError(
                f"the chunk policy looks {self._policy.lookahead} steps ahead but the flow "
                f"decoder was built for {ahead}"
            )
        self._flow = flow
        self._voice = voice
        self._prompt = flow.prompt_pairs(voice)
        self._buffer = IdBuffer(self._policy, flow.config.tokens)
        self._steps = steps
        self._guidance = guidance
        self._generator = generator
        self._noise = noise
        self._state: FlowState | None = None

    def push(self, ids: Tensor) -> list[Tensor]:
        """Add ids.

        Args:
            ids: ``[N]`` audio ids, without a language model's offset; ``N`` is free.

        Returns:
            ``[C, t]`` mel of every chunk that became ready, often none.
        """
        self._buffer.push(ids)
        ahead = self._buffer.ahead()
        if ahead is None:
            return []
        self._start(ahead)
        mels = []
        while chunk := self._buffer.take():
            mels.append(self._decode(chunk))
        return mels

    def finish(self) -> list[Tensor]:
        """Decode what is left; an incomplete last unit is filled up as published.

        Returns:
            ``[C, t]`` mel of the last chunk; nothing if there were no ids at all.
        """
        chunk = self._buffer.rest()
        if chunk is None:
            return []
        self._start(chunk.pairs[: self._policy.lookahead])
        return [self._decode(chunk)]

    def _start(self, ahead: Tensor) -> None:
        if self._state is None:
            self._state = start_stream(
                self._flow,
                self._prompt,
                ahead,
                self._voice.mel,
                self._voice.speaker,
                self._draw(len(self._prompt), cached=0),
                steps=self._steps,
                guidance=self._guidance,
            )

    def _decode(self, chunk: Chunk) -> Tensor:
        assert self._state is not None
        steps = len(chunk.pairs) - (0 if chunk.last else self._policy.lookahead)
        noise = self._draw(steps, cached=self._state.cached_frames)
        mel, state = continue_stream(self._flow, chunk.pairs, noise, self._state, last=chunk.last)
        self._state = state.truncate(self._policy.recent_frames)
        return mel

    def _draw(self, steps: int, *, cached: int) -> Tensor:
        frames = self._flow.config.encoder.up_factor * steps
        if self._noise is not None:
            return self._noise[cached : cached + frames]
        device = self._generator.device if self._generator is not None else None
        channels = self._flow.config.mel.n_mels
        return torch.randn(frames, channels, generator=self._generator, device=device)
