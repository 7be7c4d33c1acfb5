"""The two halves of every pipeline: the language model writes codes, the decoder speaks them.

Both work on batches whose samples have their own randomness and their own length limit, so that a
batch gives what its singles give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from numbers import Integral

import torch
from torch import Tensor, nn

from stepaudio.audio import Audio
from stepaudio.batching import TOGETHER_SECONDS, group_by_length
from stepaudio.errors import CancelledError, EditError, GenerationError, PromptError, TokenError
from stepaudio.interfaces import FlowDecoder, SpeechLM, Vocoder
from stepaudio.lm.sampling import check_sampling
from stepaudio.offload import working
from stepaudio.result import Run
from stepaudio.safety.watermark import Watermarker, mark
from stepaudio.seeds import seeded
from stepaudio.tokenizers.interleave import deinterleave, truncate_ids
from stepaudio.types import (
    Contrast,
    LMSpec,
    MelSpec,
    SamplingParams,
    SpeechTokens,
    StopReason,
    VoicePrompt,
)

__all__ = [
    "LONGEST_SECONDS",
    "ROWS_TOGETHER",
    "check_duration",
    "check_room",
    "check_settings",
    "draw_codes",
    "finished",
    "joined",
    "near",
    "outcome",
    "read_codes",
    "render",
    "render_parts",
    "silence",
    "write_codes",
]


#: Longest recording that is worked on in parts. What a language model reads and writes as a whole
#: ends much earlier, at its context.
LONGEST_SECONDS = 3600.0
#: Parts of a text or a recording that are written together: what the attention remembers of each
#: takes memory, and of each of its draws.
ROWS_TOGETHER = 16


def check_duration(audio: Audio, name: str, done: str) -> None:
    """Refuse a recording that is too long even in parts.

    Args:
        audio: the recording.
        name: what the error calls it.
        done: what would have been done, for the error.

    Raises:
        PromptError: it is longer than :data:`LONGEST_SECONDS`.
    """
    if audio.seconds > LONGEST_SECONDS:
        raise PromptError(
            f"{name} lasts {audio.seconds:.1f} s, but at most {LONGEST_SECONDS:.0f} s are {done} "
            "at once; cut it into parts"
        )


def check_room(words: int, units: int, spec: LMSpec, *, answered: bool, name: str) -> None:
    """Refuse a recording that leaves too little of the context for the answer.

    Args:
        words: ids of the prompt besides those of the recording.
        units: of the recording, five ids each.
        spec: of the language model.
        answered: the answer needs as much room again, not just one unit.
        name: of the recording, for the error.

    Raises:
        PromptError: says how long the recording may be.
    """
    room = (spec.context_length - words) // spec.tokens.unit_length
    longest = max(0, room // 2 if answered else room - 1)
    if units <= longest:
        return
    length, allowed = (float(count * spec.tokens.unit_seconds) for count in (units, longest))
    raise PromptError(
        f"{name} has {length:.1f} s of speech, but next to {words} ids of text the model's "
        f"context of {spec.context_length} ids has room for {allowed:.1f} s; shorten it, or cut "
        "it into parts"
    )


def check_settings(
    sampling: SamplingParams | None, steps: int | None, guidance: float | None
) -> None:
    """Refuse settings of a call before any work is done; None is always fine.

    Args:
        sampling: of the language model.
        steps: solver steps of the flow.
        guidance: guidance rate of the flow.

    Raises:
        EditError: names the setting, its value and what is allowed.
    """
    if sampling is not None:
        try:
            check_sampling(sampling)
        except ValueError as error:
            raise EditError(f"sampling: {error}") from error
    if steps is not None and not (isinstance(steps, Integral) and steps >= 1):
        raise EditError(f"steps is {steps!r} but must be a whole number, 1 or more")
    if guidance is not None and not (math.isfinite(guidance) and guidance >= 0):
        raise EditError(f"guidance is {guidance} but must be 0 (none) or more")


def write_codes(
    lm: SpeechLM,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    sampling: SamplingParams,
    seeds: Sequence[int],
    run: Run,
    contrasts: Sequence[Sequence[Contrast]] | None = None,
) -> tuple[list[SpeechTokens], list[StopReason]]:
    """Let the language model write; see :func:`draw_codes`, whose first error is raised.

    Args:
        lm: the model.
        prompts: ids per sample.
        limits: most new ids per sample; its stream is cut there with reason ``"length"``.
        sampling: how to draw.
        seeds: per sample.
        run: clock, progress and cancellation.
        contrasts: per sample, see :mod:`stepaudio.lm.guidance`; None guides none.

    Returns:
        Codes and the reason of the end, per sample.

    Raises:
        CancelledError: the caller asked to stop.
        GenerationError: a sample has no whole unit, or ids out of place.
        PromptError: see :meth:`SpeechLM.generate`.
    """
    drawn, reasons = draw_codes(lm, prompts, limits, sampling, seeds, run, contrasts=contrasts)
    codes: list[SpeechTokens] = []
    for one in drawn:
        if isinstance(one, GenerationError):
            raise one
        codes.append(one)
    return codes, reasons


def draw_codes(
    lm: SpeechLM,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    sampling: SamplingParams,
    seeds: Sequence[int],
    run: Run,
    given_up: Callable[[int, Sequence[int], Sequence[StopReason]], bool] | None = None,
    contrasts: Sequence[Sequence[Contrast]] | None = None,
) -> tuple[list[SpeechTokens | GenerationError], list[StopReason]]:
    """Let the language model write all samples in step, each as it would alone.

    Args:
        lm: the model.
        prompts: ids per sample.
        limits: most new ids per sample; its stream is cut there with reason ``"length"``.
        sampling: how to draw.
        seeds: per sample.
        run: clock, progress and cancellation.
        given_up: asked after every step about every sample that is still being written: its number,
            how many ids all samples have, and why they stopped. True cuts it there with reason
            ``"length"``. None cuts at the limits alone.
        contrasts: per sample, see :mod:`stepaudio.lm.guidance`; None guides none.

    Returns:
        Codes, or what is wrong with them, and the reason of the end, per sample.

    Raises:
        CancelledError: the caller asked to stop.
        PromptError: see :meth:`SpeechLM.generate`.
    """
    longest = max(limits)
    streams: list[list[int]] = [[] for _ in prompts]
    reasons: list[StopReason] = ["running"] * len(prompts)
    with run.stage("generate", longest) as report, working(lm):
        steps = lm.generate(
            [torch.tensor(prompt, dtype=torch.int64) for prompt in prompts],
            replace(sampling, max_new_tokens=longest),
            generators=[seeded(seed, "lm") for seed in seeds],
            cancel=run.cancel,
            # A model that cannot be guided need not know the word.
            **({"contrasts": contrasts} if contrasts and any(contrasts) else {}),
        )
        for count, step in enumerate(steps, start=1):
            for i, (token, active) in enumerate(
                zip(step.ids.tolist(), step.active.tolist(), strict=True)
            ):
                if reasons[i] != "running":
                    continue
                reasons[i] = step.stop_reasons[i]
                if active:
                    streams[i].append(token)
                    if len(streams[i]) >= limits[i]:
                        reasons[i] = "length"
            if "cancelled" in reasons:
                raise CancelledError("stopped while the language model was writing")
            if given_up is not None:
                lengths = [len(stream) for stream in streams]
                for i, reason in enumerate(reasons):
                    if reason == "running" and given_up(i, lengths, reasons):
                        reasons[i] = "length"
            report(min(count, longest))
            if "running" not in reasons:
                break
    drawn: list[SpeechTokens | GenerationError] = []
    for i, stream in enumerate(streams):
        try:
            drawn.append(read_codes(stream, lm.spec, i))
        except GenerationError as error:
            drawn.append(error)
    return drawn, reasons


def outcome(reasons: Iterable[StopReason]) -> StopReason:
    """Why the whole ended, of which every part ended by itself or was cut."""
    return next((reason for reason in reasons if reason != "end"), "end")


def render(
    flow: FlowDecoder,
    vocoder: Vocoder,
    tokens: Sequence[SpeechTokens],
    voices: Sequence[VoicePrompt],
    seeds: Sequence[int],
    run: Run,
    *,
    watermarker: Watermarker | None,
    steps: int | None = None,
    guidance: float | None = None,
) -> list[Audio]:
    """Speak codes: the mel in groups of similar length, the sound one by one.

    A vocoder is not batched: it has no mask, so padding would change the end of the sound, and
    its own noise is drawn from one source per call.

    Args:
        flow: the flow decoder.
        vocoder: the vocoder.
        tokens: per sample.
        voices: per sample.
        seeds: per sample.
        run: clock, progress and cancellation.
        watermarker: marks the sound before it is given away; None leaves it unmarked.
        steps: solver steps of the flow.
        guidance: guidance rate of the flow.

    Returns:
        One recording per sample, at the vocoder's rate.

    Raises:
        CancelledError: the caller asked to stop.
        WatermarkError: the watermarker failed.
    """
    lengths = [a.seconds + b.tokens.seconds for a, b in zip(tokens, voices, strict=True)]
    groups = group_by_length(lengths, TOGETHER_SECONDS)
    found: dict[int, Tensor] = {}
    with run.stage("decode", len(groups)) as report, working(flow):
        for done, group in enumerate(groups):
            run.check()
            report(done)
            mels = flow.decode(
                [tokens[i] for i in group],
                [voices[i] for i in group],
                steps=steps,
                guidance=guidance,
                generators=[seeded(seeds[i], "flow") for i in group],
            )
            found.update(zip(group, mels, strict=True))
    recordings: list[Audio] = []
    with run.stage("vocode", len(found)) as report, working(vocoder):
        for i, seed in enumerate(seeds):
            samples = vocoder.synthesize(
                near(found[i], vocoder)[None], generator=seeded(seed, "vocoder")
            )[0]
            recordings.append(joined(finished([samples], vocoder, watermarker, seed)))
            report(i + 1)
    return recordings


def render_parts(
    flow: FlowDecoder,
    vocoder: Vocoder,
    parts: Sequence[SpeechTokens],
    voices: Sequence[VoicePrompt],
    seed: int,
    run: Run,
    *,
    watermarker: Watermarker | None,
    steps: int | None = None,
    guidance: float | None = None,
    pauses: Sequence[float] | None = None,
) -> Audio:
    """Speak consecutive parts of one long recording.

    Memory follows the longest part: each is decoded alone, and the vocoder streams over all of
    them, so that the sound has no seams.

    Args:
        flow: the flow decoder.
        vocoder: the vocoder.
        parts: in order, cut where little is heard; see :func:`stepaudio.cutting.cut_at_pauses`.
        voices: per part.
        seed: of the whole.
        run: clock, progress and cancellation.
        watermarker: marks the sound before it is given away; None leaves it unmarked.
        steps: solver steps of the flow.
        guidance: guidance rate of the flow.
        pauses: seconds of silence after each part; None puts none in.

    Returns:
        One recording, at the vocoder's rate.

    Raises:
        CancelledError: the caller asked to stop.
        WatermarkError: the watermarker failed.
    """
    mels = []
    noise = seeded(seed, "flow")
    with run.stage("decode", len(parts)) as report, working(flow):
        for part, voice in zip(parts, voices, strict=True):
            run.check()
            mels += flow.decode([part], [voice], steps=steps, guidance=guidance, generators=[noise])
            report(len(mels))
    with run.stage("vocode", len(parts)) as report, working(vocoder):

        def heard() -> Iterator[Tensor]:
            for done, mel in enumerate(mels):
                run.check()
                report(done)
                yield near(mel, vocoder)
                if pauses is not None:
                    yield from silence(pauses[done], mel, flow.spec.mel)

        pieces = vocoder.stream(heard(), generator=seeded(seed, "vocoder"))
        return joined(finished(pieces, vocoder, watermarker, seed))


def silence(seconds: float, mel: Tensor, spec: MelSpec) -> Iterator[Tensor]:
    """A pause between two stretches of mel.

    Args:
        seconds: of it.
        mel: ``[C, t]`` on the device, and of the type, of the stretch before.
        spec: of the mel.

    Yields:
        ``[C, t]`` of nothing to hear; not at all where the pause is shorter than a frame.
    """
    frames = round(seconds * spec.frame_rate)
    if frames:
        yield mel.new_full((len(mel), frames), math.log(spec.log_floor))


def finished(
    pieces: Iterable[Tensor], vocoder: Vocoder, watermarker: Watermarker | None, seed: int
) -> Iterator[Audio]:
    """The one door through which sound leaves every pipeline.

    Args:
        pieces: ``[s]`` consecutive samples of one recording: all of them, or as they are made.
        vocoder: that made them.
        watermarker: marks them; None leaves them unmarked.
        seed: of the recording, from which its payload is made.

    Yields:
        Pieces that together are as long, none of them empty.

    Raises:
        WatermarkError: the watermarker failed.
    """
    rate = vocoder.spec.sample_rate
    for samples in mark(pieces, watermarker, seed, rate):
        yield Audio(samples, rate)


def joined(pieces: Iterable[Audio]) -> Audio:
    """Consecutive pieces as one recording.

    Args:
        pieces: at least one, all of the same rate.

    Returns:
        The recording.
    """
    sounds = list(pieces)
    return Audio(torch.cat([sound.samples for sound in sounds]), sounds[0].sample_rate)


def read_codes(stream: Sequence[int], spec: LMSpec, sample: int = 0) -> SpeechTokens:
    """What a language model has written, as the decoder reads it.

    Args:
        stream: ids.
        spec: of the model.
        sample: its number, for the error.

    Returns:
        Whole units; text among the codes and a broken last unit are dropped.

    Raises:
        GenerationError: there is no whole unit, or ids are out of place.
    """
    # Without the grammar a model may also write text; the decoder reads by position.
    audio = [i for i in stream if 0 <= i - spec.audio_offset < spec.tokens.size]
    whole = truncate_ids(torch.tensor(audio, dtype=torch.int64), spec.tokens)
    if not len(whole):
        raise GenerationError(
            f"sample {sample}: the language model ended after {len(stream)} ids, before one whole "
            f"unit of {spec.tokens.unit_length}; try another seed, or sampling with a larger "
            "min_new_tokens"
        )
    try:
        return deinterleave(whole, spec.tokens, spec.audio_offset)
    except TokenError as error:
        raise GenerationError(
            f"sample {sample}: the language model wrote codes out of place ({error}); use "
            "sampling with constrain=True"
        ) from error


def near(mel: Tensor, vocoder: Vocoder) -> Tensor:
    """The mel where the vocoder is, if that can be seen.

    Args:
        mel: of any shape.
        vocoder: to read it.

    Returns:
        The mel.
    """
    if isinstance(vocoder, nn.Module):
        weight = next(vocoder.parameters(), None)
        return mel if weight is None else mel.to(weight.device)
    return mel
