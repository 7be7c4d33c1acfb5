"""The whole road from recording to recording: edits.

A pipeline is six parts (see :mod:`stepaudio.parts`) and nothing else; it never changes their
weights. Everything random follows from one seed, which the result records.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar, overload

import torch

from stepaudio.audio import Audio, AudioSource
from stepaudio.edit_passes import EditPasses, pass_seed
from stepaudio.edit_prompts import Job
from stepaudio.edits import Edit
from stepaudio.errors import EditError
from stepaudio.prompts import edit_turns
from stepaudio.result import Cancel, EditResult, Progress, Run
from stepaudio.safety.consent import ConsentRecord
from stepaudio.safety.policy import PolicyName, SafetyPolicy
from stepaudio.safety.provenance import history_of
from stepaudio.seeds import choose_seeds
from stepaudio.streaming import AudioStream
from stepaudio.types import SamplingParams, VoicePrompt

__all__ = ["EditPipeline"]

T = TypeVar("T")


class EditPipeline(EditPasses):
    """Edits recordings.

    Args:
        parts: one object per stage.
        defaults: how to run unless a call says otherwise.
        name: of the model, for the provenance of what it makes.
        watermarker: marks all sound that is made; None makes unmarked sound.
    """

    @overload
    def edit(
        self,
        audio: list[AudioSource] | list[str] | list[Path] | list[Audio],
        edit: Edit | Sequence[Edit],
        *,
        text: str | Sequence[str] = ...,
        seed: int | Sequence[int] | None = ...,
        generator: torch.Generator | None = ...,
        sampling: SamplingParams | None = ...,
        steps: int | None = ...,
        guidance: float | None = ...,
        voice: VoicePrompt | Sequence[VoicePrompt] | None = ...,
        span: Sequence[float] | Sequence[Sequence[float]] | None = ...,
        max_length_ratio: float | None = ...,
        consent: ConsentRecord | Sequence[ConsentRecord] | None = ...,
        policy: SafetyPolicy | PolicyName | None = ...,
        cancel: Cancel | None = ...,
        progress: Progress | None = ...,
    ) -> list[EditResult]: ...

    @overload
    def edit(
        self,
        audio: AudioSource,
        edit: Edit,
        *,
        text: str = ...,
        seed: int | None = ...,
        generator: torch.Generator | None = ...,
        sampling: SamplingParams | None = ...,
        steps: int | None = ...,
        guidance: float | None = ...,
        voice: VoicePrompt | None = ...,
        span: Sequence[float] | None = ...,
        max_length_ratio: float | None = ...,
        consent: ConsentRecord | None = ...,
        policy: SafetyPolicy | PolicyName | None = ...,
        cancel: Cancel | None = ...,
        progress: Progress | None = ...,
    ) -> EditResult: ...

    @torch.no_grad()
    def edit(
        self,
        audio: AudioSource | list[AudioSource] | list[str] | list[Path] | list[Audio],
        edit: Edit | Sequence[Edit],
        *,
        text: str | Sequence[str] = "",
        seed: int | Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        sampling: SamplingParams | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        voice: VoicePrompt | Sequence[VoicePrompt] | None = None,
        span: Sequence[float] | Sequence[Sequence[float]] | None = None,
        max_length_ratio: float | None = None,
        consent: ConsentRecord | Sequence[ConsentRecord] | None = None,
        policy: SafetyPolicy | PolicyName | None = None,
        cancel: Cancel | None = None,
        progress: Progress | None = None,
    ) -> EditResult | list[EditResult]:
        """Edit a recording, or a list of recordings as a batch.

        With a list of recordings the other arguments may be lists too; single values serve every
        sample. With the language model in float32 a batch gives what its singles give with the
        same seeds; in half precision and with int4 weights the draws of most differ, see
        ``docs/streaming.md``.

        Args:
            audio: any source of :meth:`Audio.load`, or a list of them.
            edit: what to do. A strength above 1 of an emotion or a style means as many passes,
                each on the result before.
            text: the words spoken in the recording, where the edit needs them; with a span, those
                spoken in the span. Tags of sounds in it are taken to be there already.
            seed: repeats a result; None draws one per sample.
            generator: source of the seeds that are not given.
            sampling: how the language model draws; None is the model's own way.
            steps: solver steps of the flow.
            guidance: guidance rate of the flow.
            voice: to speak in, which needs that speaker's consent; None is the voice of the
                recording each pass starts from, and that of the whole recording with a span.
            span: seconds from and to which to edit; see :mod:`stepaudio.spans`. The rest of the
                recording stays as it is, sample for sample, and at its own rate; ``tokens``,
                ``text`` and ``length_ratio`` of the result are those of the new part. To give each
                recording of a batch its own, give a list of pairs.
            max_length_ratio: the result may become this many times as long as the input (never
                less than three seconds); beyond, it is cut and its stop reason is ``"length"``.
            consent: of the speaker.
            policy: what needs consent; None is the policy ``"standard"``.
            cancel: asked between stages and tokens; True stops.
            progress: told the stage, the steps done and the most steps it takes.

        Returns:
            The result, or a list of them.

        Raises:
            AudioError: a recording cannot be read, is silent or too short.
            EditError: an edit needs text, lists differ in length, a span is not within its
                recording or too short, or settings make no sense.
            PromptError: a recording is too long for the model's context.
            SafetyError: the policy refuses; see :func:`stepaudio.safety.policy.permit`.
            GenerationError: the language model wrote nothing that can be decoded.
            CancelledError: ``cancel`` returned True.
        """
        settings = self._settings(sampling, steps, guidance, max_length_ratio)
        batch = isinstance(audio, list | tuple)
        sources: Sequence[AudioSource] = audio if isinstance(audio, list | tuple) else [audio]
        if not sources:
            return []
        count = len(sources)
        edits = _spread(edit, Edit, count, "edit")
        texts = _spread(text, str, count, "text")
        for one, words in zip(edits, texts, strict=True):
            # Refuses missing words before any work is done.
            edit_turns(one, "<audio_0>", words)
        voices: list[VoicePrompt | None] = [None] * count
        if voice is not None:
            voices[:] = [self._checked(v) for v in _spread(voice, VoicePrompt, count, "voice")]
        consents: list[ConsentRecord | None] = [None] * count
        if consent is not None:
            consents[:] = _spread(consent, ConsentRecord, count, "consent")
        spans = None if span is None else _spread(_pairs(span), tuple, count, "span")
        seeds = choose_seeds(seed, generator, count)
        jobs = [
            Job(
                _name(source, i, count), self._load(source), edits[i], texts[i], seeds[i], voices[i]
            )
            for i, source in enumerate(sources)
        ]
        permits = [
            self._permit(policy, one, job.audio, job.voice)
            for one, job in zip(consents, jobs, strict=True)
        ]
        results = self._all_passes(jobs, spans, settings, Run(cancel, progress))
        traced = [
            self._traced(result, "edit", allowed, job.audio)
            for result, allowed, job in zip(results, permits, jobs, strict=True)
        ]
        return traced if batch else traced[0]

    def iterate(
        self,
        audio: AudioSource,
        edit: Edit,
        *,
        text: str = "",
        n: int = 3,
        fixed_prompt: bool = False,
        seed: int | None = None,
        generator: torch.Generator | None = None,
        sampling: SamplingParams | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        voice: VoicePrompt | None = None,
        span: Sequence[float] | None = None,
        max_length_ratio: float | None = None,
        consent: ConsentRecord | None = None,
        policy: SafetyPolicy | PolicyName | None = None,
        cancel: Cancel | None = None,
        progress: Progress | None = None,
    ) -> Iterator[EditResult]:
        """Apply an edit again and again, each time to the result before (paper section 3).

        Args:
            audio: any source of :meth:`Audio.load`.
            edit: what to do in every iteration.
            text: the words spoken in the recording, where the edit needs them.
            n: iterations.
            fixed_prompt: condition the decoder on the first recording throughout, instead of on
                the recording each iteration starts from. An edit that is made on the recording
                itself (``Defaults.on_recording``) has no decoder.
            seed: repeats all results; None draws one.
            generator: source of the seed if none is given.
            sampling: how the language model draws.
            steps: solver steps of the flow.
            guidance: guidance rate of the flow.
            voice: to speak in, see :meth:`edit`; overrules ``fixed_prompt``.
            span: seconds from and to which to edit, see :meth:`edit`; each further iteration edits
                the new part of the one before.
            max_length_ratio: of each iteration, see :meth:`edit`.
            consent: of the speaker; compared with the first recording, or with ``voice``.
            policy: what needs consent; None is the policy ``"standard"``.
            cancel: asked between stages and tokens; True stops.
            progress: told the stage, the steps done and the most steps it takes.

        Yields:
            One result per iteration; ``edits`` grows, ``seed`` repeats that iteration alone on the
            result before, and the provenance tells all of them.

        Raises:
            EditError: ``n`` is below 1, or see :meth:`edit`.
            SafetyError: the policy refuses; see :func:`stepaudio.safety.policy.permit`.
        """
        if n < 1:
            raise EditError(f"the number of iterations must be at least 1, not {n}")
        settings = self._settings(sampling, steps, guidance, max_length_ratio)
        edit_turns(edit, "<audio_0>", text)
        spans = None if span is None else _spread(_pairs(span), tuple, 1, "span")
        voice = None if voice is None else self._checked(voice)
        recording = self._load(audio)
        allowed = self._permit(policy, consent, recording, voice)
        own = fixed_prompt and voice is None and not self.defaults.changes_recording(edit)
        if own:
            voice = self.voice_prompt(recording)
        first = choose_seeds(seed, generator, 1)[0]
        history = history_of(recording)
        done: tuple[Edit, ...] = ()
        for number in range(n):
            job = Job("the recording", recording, edit, text, pass_seed(first, number), voice, own)
            with torch.no_grad():
                (result,) = self._all_passes([job], spans, settings, Run(cancel, progress))
            result = self._traced(result, "edit", allowed, recording, history)
            assert result.provenance is not None
            done += result.edits
            recording, text = result.audio, result.text
            if spans is not None:
                assert result.span is not None
                spans = [result.span]
            history = result.provenance
            yield replace(result, edits=done)

    def stream(
        self,
        audio: AudioSource,
        edit: Edit,
        *,
        text: str = "",
        seed: int | None = None,
        generator: torch.Generator | None = None,
        sampling: SamplingParams | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        voice: VoicePrompt | None = None,
        max_length_ratio: float | None = None,
        consent: ConsentRecord | None = None,
        policy: SafetyPolicy | PolicyName | None = None,
        cancel: Cancel | None = None,
        progress: Progress | None = None,
    ) -> AudioStream:
        """Edit a recording and hear it while the language model still writes.

        With the same seed the codes are those of :meth:`edit` if that needs no second draw: what
        has been heard cannot be drawn again, so ``Defaults.draws`` has no effect here, nor has
        ``Defaults.part_seconds``. The sound differs a little, because the flow decoder cannot look
        further ahead than one unit; see :mod:`stepaudio.decoder.streaming`. Of an edit in several
        passes only the last one streams.

        Args:
            audio: any source of :meth:`Audio.load`.
            edit: what to do.
            text: the words spoken in the recording, where the edit needs them.
            seed: repeats a result; None draws one.
            generator: source of the seed if none is given.
            sampling: how the language model draws; None is the model's own way.
            steps: solver steps of the flow.
            guidance: guidance rate of the flow.
            voice: to speak in, see :meth:`edit`; None is the voice of the recording the last pass
                starts from.
            max_length_ratio: see :meth:`edit`.
            consent: of the speaker.
            policy: what needs consent; None is the policy ``"standard"``.
            cancel: asked between stages, chunks and tokens; True stops.
            progress: told the stage, the steps done and the most steps it takes.

        Returns:
            The chunks, to be iterated over; nothing is computed before the first is asked for.

        Raises:
            AudioError: the recording cannot be read, is silent or too short.
            EditError: the edit needs text, or settings make no sense.
            SafetyError: the policy refuses; see :func:`stepaudio.safety.policy.permit`.
            SpecMismatchError: the voice was made by another model.
        """
        settings = self._settings(sampling, steps, guidance, max_length_ratio)
        edit_turns(edit, "<audio_0>", text)
        voice = None if voice is None else self._checked(voice)
        chosen = choose_seeds(seed, generator, 1)[0]
        recording = self._load(audio)
        allowed = self._permit(policy, consent, recording, voice)
        job = Job(_name(audio, 0, 1), recording, edit, text, chosen, voice)
        chunks = self._chunks(job, settings, Run(cancel, progress))
        return AudioStream(self._traced_chunks(chunks, "edit", allowed, recording), chosen)


def _name(source: object, number: int, count: int) -> str:
    """What an error calls a recording."""
    if isinstance(source, str | os.PathLike):
        return repr(os.fspath(source))
    return "the recording" if count == 1 else f"recording {number}"


def _pairs(span: Any) -> Any:
    """The same, but two times in a list, as JSON has them, are a pair as well."""
    if not isinstance(span, list):
        return span
    if len(span) == 2 and all(isinstance(time, Real) for time in span):
        return tuple(span)
    return [_pairs(one) for one in span]


def _spread(value: T | Sequence[T], kind: type[T], count: int, name: str) -> list[T]:
    """One value per sample."""
    if isinstance(value, kind):
        return [value] * count
    values = list(value) if isinstance(value, list | tuple) else None
    if values is None or not all(isinstance(one, kind) for one in values):
        raise EditError(f"{name} must be {kind.__name__} or a list of them, not {value!r}")
    if len(values) != count:
        raise EditError(f"{count} recordings need {count} values of {name}, got {len(values)}")
    return values
