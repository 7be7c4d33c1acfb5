"""The whole road from recording to recording: edits.

A pipeline is six parts (see :mod:`stepaudio.parts`) and nothing else; it never changes their
weights. Everything random follows from one seed, which the result records.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar, overload

import torch

from stepaudio.audio import Audio, AudioSource
from stepaudio.cutting import sound_units
from stepaudio.edits import Edit
from stepaudio.errors import EditError
from stepaudio.pipeline_base import Pipeline, check_settings
from stepaudio.prompts import edit_turns, encode_edit_prompt
from stepaudio.redraw import write_edits
from stepaudio.result import Cancel, EditResult, Progress, Run
from stepaudio.seeds import choose_seeds, derive_seed
from stepaudio.streaming import AudioStream
from stepaudio.synthesis import check_room
from stepaudio.tokenizers.interleave import to_text
from stepaudio.types import SamplingParams, SpeechTokens, VoicePrompt

__all__ = ["EditPipeline"]

T = TypeVar("T")

# An edit of a very short recording may still add a laugh.
_ALWAYS_ALLOWED_SECONDS = 3.0


@dataclass(frozen=True)
class _Job:
    """One sample of one pass."""

    name: str
    audio: Audio
    edit: Edit
    text: str
    seed: int
    voice: VoicePrompt | None


@dataclass(frozen=True)
class _Settings:
    """What all samples of a call share."""

    sampling: SamplingParams
    max_length_ratio: float
    steps: int | None
    guidance: float | None


class _Ready(NamedTuple):
    """What the language model and the decoder need of a job."""

    entered: SpeechTokens
    prompt: list[int]
    limit: int
    voice: VoicePrompt


class EditPipeline(Pipeline):
    """Edits recordings.

    Args:
        parts: one object per stage.
        defaults: how to run unless a call says otherwise.
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
        max_length_ratio: float | None = ...,
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
        max_length_ratio: float | None = ...,
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
        max_length_ratio: float | None = None,
        cancel: Cancel | None = None,
        progress: Progress | None = None,
    ) -> EditResult | list[EditResult]:
        """Edit a recording, or a list of recordings as a batch.

        With a list of recordings the other arguments may be lists too; single values serve every
        sample. A batch gives what its singles give with the same seeds.

        Args:
            audio: any source of :meth:`Audio.load`, or a list of them.
            edit: what to do. A strength above 1 of an emotion or a style means as many passes,
                each on the result before.
            text: the words spoken in the recording, where the edit needs them.
            seed: repeats a result; None draws one per sample.
            generator: source of the seeds that are not given.
            sampling: how the language model draws; None is the model's own way.
            steps: solver steps of the flow.
            guidance: guidance rate of the flow.
            voice: to speak in; None is the voice of the recording each pass starts from.
            max_length_ratio: the result may become this many times as long as the input (never
                less than three seconds); beyond, it is cut and its stop reason is ``"length"``.
            cancel: asked between stages and tokens; True stops.
            progress: told the stage, the steps done and the most steps it takes.

        Returns:
            The result, or a list of them.

        Raises:
            AudioError: a recording cannot be read, is silent or too short.
            EditError: an edit needs text, lists differ in length, or settings make no sense.
            PromptError: a recording is too long for the model's context.
            GenerationError: the language model wrote nothing that can be decoded.
            CancelledError: ``cancel`` returned True.
        """
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
        seeds = choose_seeds(seed, generator, count)
        names = [_name(source, i, count) for i, source in enumerate(sources)]
        recordings = [self._load(source) for source in sources]
        settings = self._settings(sampling, steps, guidance, max_length_ratio)

        run = Run(cancel, progress)
        results: dict[int, EditResult] = {}
        entered = [0] * count
        cut = [False] * count
        for number in range(max(one.passes for one in edits)):
            live = [i for i in range(count) if number < edits[i].passes]
            after = f" after pass {number}" if number else ""
            jobs = [
                _Job(
                    names[i] + after,
                    recordings[i],
                    edits[i],
                    texts[i],
                    _pass_seed(seeds[i], number),
                    voices[i],
                )
                for i in live
            ]
            for i, (result, inputs) in zip(live, self._pass(jobs, settings, run), strict=True):
                if not number:
                    entered[i] = inputs
                cut[i] |= result.stop_reason == "length"
                results[i] = result
                recordings[i], texts[i] = result.audio, result.text
        timings = run.share(count)
        final = [
            replace(
                results[i],
                seed=seeds[i],
                timings=timings,
                length_ratio=results[i].tokens.num_units / entered[i],
                # Speech that one pass has lost, no later pass brings back.
                stop_reason="length" if cut[i] else results[i].stop_reason,
            )
            for i in range(count)
        ]
        return final if batch else final[0]

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
        max_length_ratio: float | None = None,
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
                the recording each iteration starts from.
            seed: repeats all results; None draws one.
            generator: source of the seed if none is given.
            sampling: how the language model draws.
            steps: solver steps of the flow.
            guidance: guidance rate of the flow.
            voice: to speak in; overrules ``fixed_prompt``.
            max_length_ratio: of each iteration, see :meth:`edit`.
            cancel: asked between stages and tokens; True stops.
            progress: told the stage, the steps done and the most steps it takes.

        Yields:
            One result per iteration; ``edits`` grows, ``seed`` repeats that iteration alone on the
            result before.

        Raises:
            EditError: ``n`` is below 1, or see :meth:`edit`.
        """
        if n < 1:
            raise EditError(f"the number of iterations must be at least 1, not {n}")
        recording = self._load(audio)
        if fixed_prompt and voice is None:
            voice = self.voice_prompt(recording)
        first = choose_seeds(seed, generator, 1)[0]
        done: tuple[Edit, ...] = ()
        for number in range(n):
            result = self.edit(
                recording,
                edit,
                text=text,
                seed=_pass_seed(first, number),
                sampling=sampling,
                steps=steps,
                guidance=guidance,
                voice=voice,
                max_length_ratio=max_length_ratio,
                cancel=cancel,
                progress=progress,
            )
            done += result.edits
            recording, text = result.audio, result.text
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
        cancel: Cancel | None = None,
        progress: Progress | None = None,
    ) -> AudioStream:
        """Edit a recording and hear it while the language model still writes.

        With the same seed the codes are those of :meth:`edit` if that needs no second draw: what
        has been heard cannot be drawn again, so ``Defaults.draws`` has no effect here. The sound
        differs a little, because the flow decoder cannot look further ahead than one unit; see
        :mod:`stepaudio.decoder.streaming`. Of an edit in several passes only the last one streams.

        Args:
            audio: any source of :meth:`Audio.load`.
            edit: what to do.
            text: the words spoken in the recording, where the edit needs them.
            seed: repeats a result; None draws one.
            generator: source of the seed if none is given.
            sampling: how the language model draws; None is the model's own way.
            steps: solver steps of the flow.
            guidance: guidance rate of the flow.
            voice: to speak in; None is the voice of the recording the last pass starts from.
            max_length_ratio: see :meth:`edit`.
            cancel: asked between stages, chunks and tokens; True stops.
            progress: told the stage, the steps done and the most steps it takes.

        Returns:
            The chunks, to be iterated over; nothing is computed before the first is asked for.

        Raises:
            AudioError: the recording cannot be read, is silent or too short.
            EditError: the edit needs text, or settings make no sense.
            SpecMismatchError: the voice was made by another model.
        """
        settings = self._settings(sampling, steps, guidance, max_length_ratio)
        edit_turns(edit, "<audio_0>", text)
        voice = None if voice is None else self._checked(voice)
        chosen = choose_seeds(seed, generator, 1)[0]
        job = _Job(_name(audio, 0, 1), self._load(audio), edit, text, chosen, voice)
        return AudioStream(self._chunks(job, settings, Run(cancel, progress)), chosen)

    @torch.no_grad()
    def _chunks(
        self, job: _Job, settings: _Settings, run: Run
    ) -> Generator[Audio, None, EditResult]:
        first, entered, cut = job, 0, False
        for number in range(job.edit.passes - 1):
            ((before, units),) = self._pass([job], settings, run)
            entered, cut = entered or units, cut or before.stop_reason == "length"
            job = replace(
                first,
                name=f"{first.name} after pass {number + 1}",
                audio=before.audio,
                text=before.text,
                seed=_pass_seed(first.seed, number + 1),
            )
        (ready,) = self._prepare([job], settings, run)
        spoken = yield from self._speak(
            ready.prompt,
            ready.limit,
            ready.voice,
            settings.sampling,
            job.seed,
            run,
            settings.steps,
            settings.guidance,
        )
        return EditResult(
            audio=spoken.audio,
            tokens=spoken.tokens,
            text=job.edit.text or job.text,
            edits=(job.edit,),
            stop_reason="length" if cut else spoken.reason,
            seed=first.seed,
            timings=run.share(1),
            length_ratio=spoken.tokens.num_units / (entered or ready.entered.num_units),
        )

    def _settings(
        self,
        sampling: SamplingParams | None,
        steps: int | None,
        guidance: float | None,
        max_length_ratio: float | None,
    ) -> _Settings:
        check_settings(sampling, steps, guidance)
        ratio = self.defaults.max_length_ratio if max_length_ratio is None else max_length_ratio
        if not ratio > 0:
            raise EditError(f"max_length_ratio must be above 0, not {ratio}")
        return _Settings(
            self.defaults.sampling if sampling is None else sampling, ratio, steps, guidance
        )

    def _prepare(self, jobs: Sequence[_Job], settings: _Settings, run: Run) -> list[_Ready]:
        """Everything up to the language model."""
        spec, sampling = self.parts.lm.spec, settings.sampling
        for job in jobs:
            # Minutes of speech are refused before the work of tokenizing them.
            words = len(self._prompt(job, "<audio_0>")) - 1
            units = sound_units(job.audio, spec.tokens)
            check_room(words, units, spec, answered=True, name=job.name)
        with run.stage("tokenize", 1):
            inputs = self.parts.tokenizer.encode([job.audio for job in jobs])
        asked = []
        for job, tokens in zip(jobs, inputs, strict=True):
            ids, units = self._prompt(job, to_text(tokens)), tokens.num_units
            words = len(ids) - units * spec.tokens.unit_length
            check_room(words, units, spec, answered=True, name=job.name)
            allowed = max(tokens.seconds * settings.max_length_ratio, _ALWAYS_ALLOWED_SECONDS)
            units = math.ceil(allowed / float(spec.tokens.unit_seconds))
            asked.append((ids, min(sampling.max_new_tokens, units * spec.tokens.unit_length)))
        with run.stage("voice", 1):
            return [
                _Ready(tokens, ids, limit, job.voice or self._voice(job.audio, tokens))
                for job, tokens, (ids, limit) in zip(jobs, inputs, asked, strict=True)
            ]

    def _pass(
        self, jobs: Sequence[_Job], settings: _Settings, run: Run
    ) -> list[tuple[EditResult, int]]:
        """Every edit once, and the units put in; timings are left to the caller."""
        ready = self._prepare(jobs, settings, run)
        seeds = [job.seed for job in jobs]
        ratios = [self.defaults.speeds.get(job.edit.published_label) for job in jobs]
        wanted = [
            None if ratio is None else ratio * one.entered.num_units
            for ratio, one in zip(ratios, ready, strict=True)
        ]
        outputs, reasons = write_edits(
            self.parts.lm,
            [one.prompt for one in ready],
            [one.limit for one in ready],
            wanted,
            settings.sampling,
            seeds,
            run,
            draws=self.defaults.draws,
        )
        voices = [one.voice for one in ready]
        sounds = self._render(outputs, voices, seeds, run, settings.steps, settings.guidance)
        return [
            (
                EditResult(
                    audio=sounds[i],
                    tokens=outputs[i],
                    text=job.edit.text or job.text,
                    edits=(job.edit,),
                    stop_reason=reasons[i],
                    seed=job.seed,
                    timings={},
                    length_ratio=None,
                ),
                ready[i].entered.num_units,
            )
            for i, job in enumerate(jobs)
        ]

    def _prompt(self, job: _Job, codes: str) -> list[int]:
        layout = self.defaults.layout
        return encode_edit_prompt(self.parts.text, job.edit, codes, job.text, layout=layout)


def _name(source: object, number: int, count: int) -> str:
    """What an error calls a recording."""
    if isinstance(source, str | os.PathLike):
        return repr(os.fspath(source))
    return "the recording" if count == 1 else f"recording {number}"


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


def _pass_seed(seed: int, number: int) -> int:
    """Seed of a pass: the run's own for the first, so that one pass and one run agree."""
    return derive_seed(seed, f"pass {number}") if number else seed
