"""Sound while the language model still writes.

Four stages, each pulling from the one before: ids, whole units of codes, chunks of mel, chunks of
samples. Nothing runs ahead of the listener: the model writes as much as the next chunk needs when
that chunk is asked for, so a slow listener loses nothing and one that leaves costs nothing more.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self

from stepaudio.audio import Audio
from stepaudio.cutting import join_codes
from stepaudio.decoder.early import stream_early
from stepaudio.errors import CancelledError, EditError
from stepaudio.interfaces import FlowDecoder, SpeechLM, Vocoder
from stepaudio.offload import working
from stepaudio.result import EditResult, Run
from stepaudio.safety.watermark import Watermarker
from stepaudio.seeds import seeded
from stepaudio.synthesis import finished, joined, near, outcome, read_codes, silence
from stepaudio.types import Contrast, SamplingParams, SpeechTokens, StopReason, VoicePrompt

__all__ = ["AudioStream", "CodeStream", "Spoken", "speak_codes"]


class AudioStream(Iterator[Audio]):
    """Chunks of one recording, made as they are asked for.

    Leaving early is :meth:`close`, the end of a ``with`` block, or letting go of the stream; each
    frees everything the stream holds.

    Args:
        chunks: the work; returns the result.
        seed: that repeats it.

    Attributes:
        seed: repeats the whole, also after leaving early.
    """

    def __init__(self, chunks: Generator[Audio, None, EditResult], seed: int) -> None:
        self._chunks = chunks
        self._result: EditResult | None = None
        self.seed = seed

    def __next__(self) -> Audio:
        """The next chunk; the first one takes longest."""
        try:
            return next(self._chunks)
        except StopIteration as end:
            self._result = self._result or end.value
            raise

    def __enter__(self) -> Self:
        """Close the stream at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the work."""
        self.close()

    def close(self) -> None:
        """Stop the work and free what it holds; a stream that has ended keeps its result."""
        self._chunks.close()

    @property
    def result(self) -> EditResult:
        """The whole: all chunks as one recording, codes, stop reason, seed, timings.

        Raises:
            EditError: the stream has not been heard to its end.
        """
        if self._result is None:
            raise EditError(
                "a stream has no result before its last chunk; iterate to the end first "
                f"(its seed is {self.seed})"
            )
        return self._result


class Spoken(NamedTuple):
    """What a stream has said in the end.

    Attributes:
        audio: all chunks.
        tokens: its codes.
        reason: why the language model stopped.
    """

    audio: Audio
    tokens: SpeechTokens
    reason: StopReason


class CodeStream:
    """The answer of a language model, unit by unit; draws what ``write_codes`` draws.

    Args:
        lm: the model.
        prompt: ids.
        limit: most new ids.
        sampling: how to draw.
        seed: of the answer.
        run: clock, progress and cancellation.
        contrasts: prompts to keep away from; see :mod:`stepaudio.lm.guidance`.

    Attributes:
        lm: the model.
        units: those written so far.
        reason: why it stopped, ``"running"`` until then.
    """

    def __init__(
        self,
        lm: SpeechLM,
        prompt: Sequence[int],
        limit: int,
        sampling: SamplingParams,
        seed: int,
        run: Run,
        contrasts: Sequence[Contrast] = (),
    ) -> None:
        self.units: list[SpeechTokens] = []
        self.reason: StopReason = "running"
        self.lm = lm
        self._prompt = torch.tensor(prompt, dtype=torch.int64)
        self._limit = limit
        self._sampling = replace(sampling, max_new_tokens=limit)
        self._seed = seed
        self._run = run
        self._contrasts = contrasts

    def write(self) -> Generator[SpeechTokens, None, None]:
        """Let the model write.

        Yields:
            One unit, as soon as it is whole.

        Raises:
            CancelledError: the caller asked to stop.
            GenerationError: the model ended before one whole unit, or wrote ids out of place.
            PromptError: see :meth:`SpeechLM.generate`.
        """
        spec, run = self.lm.spec, self._run
        audio = range(spec.audio_offset, spec.audio_offset + spec.tokens.size)
        ids: list[int] = []
        filled = 0
        run.report("generate", 0, self._limit)
        steps = self.lm.generate(
            [self._prompt],
            self._sampling,
            generators=[seeded(self._seed, "lm")],
            cancel=run.cancel,
            **({"contrasts": [self._contrasts]} if self._contrasts else {}),
        )
        with closing(run.follow("generate", steps)) as followed:
            for count, step in enumerate(followed, start=1):
                self.reason = step.stop_reasons[0]
                if self.reason == "cancelled":
                    raise CancelledError("stopped while the language model was writing")
                run.report("generate", min(count, self._limit), self._limit)
                if not step.active[0]:
                    continue
                ids.append(token := int(step.ids[0]))
                # Without the grammar there may be text, which fills no unit.
                filled += token in audio
                if filled == spec.tokens.unit_length:
                    self.units.append(read_codes(ids, spec))
                    ids, filled = [], 0
                    yield self.units[-1]
        if not self.units:
            read_codes(ids, spec)  # tells how little there is

    @property
    def tokens(self) -> SpeechTokens:
        """All units so far as one; there must be some."""
        return join_codes(self.units)


@torch.no_grad()
def speak_codes(
    codes: Sequence[CodeStream],
    flow: FlowDecoder,
    vocoder: Vocoder,
    voice: VoicePrompt,
    seed: int,
    run: Run,
    *,
    watermarker: Watermarker | None,
    steps: int | None = None,
    guidance: float | None = None,
    pauses: Sequence[float] | None = None,
) -> Generator[Audio, None, Spoken]:
    """Speak codes as they are written.

    The noise is that of :func:`stepaudio.synthesis.render`, so both differ only in what the flow
    decoder could not know yet.

    Args:
        codes: of one part of what is said after the other, not begun, all by the same model.
        flow: the flow decoder.
        vocoder: the vocoder.
        voice: to speak in.
        seed: of the sound.
        run: clock, progress and cancellation.
        watermarker: marks the sound before it is given away; None leaves it unmarked.
        steps: solver steps of the flow.
        guidance: guidance rate of the flow.
        pauses: seconds of silence after each part; None puts none in.

    Returns:
        A generator of consecutive pieces of the recording, at the vocoder's rate, which in the end
        returns everything said.

    Raises:
        CancelledError: the caller asked to stop.
        GenerationError: see :meth:`CodeStream.write`.
        WatermarkError: the watermarker failed.
    """
    sounds: list[Audio] = []
    with ExitStack() as stages:
        # A stream goes to and fro between them.
        stages.enter_context(working(codes[0].lm, flow, vocoder))
        noise = seeded(seed, "flow")

        def decoded() -> Generator[Tensor, None, None]:
            for number, part in enumerate(codes):
                with closing(part.write()) as units:
                    mels = flow.stream(
                        units, voice, steps=steps, guidance=guidance, generator=noise
                    )
                    with closing(run.follow("decode", mels)) as followed:
                        for mel in followed:
                            yield mel
                if pauses is not None:
                    yield from silence(pauses[number], mel, flow.spec.mel)

        mels = stages.enter_context(closing(decoded()))
        waves = stages.enter_context(
            closing(
                run.follow(
                    "vocode",
                    stream_early(
                        vocoder,
                        (near(mel, vocoder) for mel in mels),
                        generator=seeded(seed, "vocoder"),
                    ),
                )
            )
        )
        for sound in finished(waves, vocoder, watermarker, seed):
            sounds.append(sound)
            yield sound
    tokens = join_codes([part.tokens for part in codes])
    return Spoken(joined(sounds), tokens, outcome(part.reason for part in codes))
