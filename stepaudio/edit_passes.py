"""One pass of an edit, and the passes of one edit as a stream.

A strength above 1 of an emotion or a style is more than one pass; see
:class:`stepaudio.pipeline.EditPipeline`, which is what programs use.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.cutting import cut_at_pauses, join_codes, join_parts
from stepaudio.edit_prompts import EditPrompts, EditRow, Job, Settings
from stepaudio.edits import Edit
from stepaudio.errors import EditError
from stepaudio.offload import working
from stepaudio.pipeline_base import Pipeline
from stepaudio.recording_edits import MANNER_EDITS, edit_recording
from stepaudio.redraw import write_edits
from stepaudio.result import EditResult, Run
from stepaudio.safety.watermark import mark
from stepaudio.seeds import derive_seed
from stepaudio.sound_places import SoundStretch, sound_stretch
from stepaudio.spans import Cut, find_cut, splice
from stepaudio.streaming import CodeStream
from stepaudio.synthesis import ROWS_TOGETHER, check_duration, check_settings, outcome
from stepaudio.types import SamplingParams, SpeechTokens, StopReason, VoicePrompt
from stepaudio.voice import with_timbre

__all__ = ["EditPasses", "pass_seed"]


class _Ready(NamedTuple):
    """What the language model and the decoder need of a job.

    Attributes:
        entered: codes of the recording.
        rows: what is written, in order: one, or one for each part.
        voice: to speak in.
    """

    entered: SpeechTokens
    rows: list[EditRow]
    voice: VoicePrompt


class EditPasses(Pipeline):
    """What :class:`~stepaudio.pipeline.EditPipeline` does between its checks and its results.

    Args:
        parts: one object per stage.
        defaults: how to run unless a call says otherwise.
        name: of the model, for the provenance of what it makes.
        watermarker: marks all sound that is made; None makes unmarked sound.
    """

    def result_rate(
        self,
        audio: Audio,
        edit: Edit,
        *,
        text: str = "",
        span: Sequence[float] | None = None,
    ) -> int:
        """Sampling rate of what an edit in the recording's own voice gives, before it is made.

        Args:
            audio: the recording.
            edit: what to do.
            text: the words spoken in it, where the edit needs them.
            span: seconds from and to which to edit; None is all of it.

        Returns:
            Hz: those of the recording where it is itself changed, or edited only in a part; else
            those of the vocoder.
        """
        job = Job("the recording", audio, edit, text, 0, None)
        if span is not None or self._is_on_recording(job) or self._stretch(job) is not None:
            return audio.sample_rate
        return self.parts.vocoder.spec.sample_rate

    def _settings(
        self,
        sampling: SamplingParams | None,
        steps: int | None,
        guidance: float | None,
        max_length_ratio: float | None,
    ) -> Settings:
        """Settings of a call, refused if they make no sense."""
        check_settings(sampling, steps, guidance)
        ratio = self.defaults.max_length_ratio if max_length_ratio is None else max_length_ratio
        if not ratio > 0:
            raise EditError(f"max_length_ratio must be above 0, not {ratio}")
        return Settings(
            self.defaults.sampling if sampling is None else sampling, ratio, steps, guidance
        )

    def _all_passes(
        self,
        jobs: Sequence[Job],
        spans: Sequence[tuple[float, float]] | None,
        settings: Settings,
        run: Run,
    ) -> list[EditResult]:
        """A batch through all its passes; whether it may be, the caller has asked."""
        asked, each = jobs, [None] * len(jobs) if spans is None else spans
        found = [self._cut_out(job, span, run) for job, span in zip(jobs, each, strict=True)]
        cuts, jobs = [cut for cut, _ in found], [job for _, job in found]
        count = len(jobs)
        now = [self._in_pass(job, 0) for job in jobs]
        entered, ended = [0] * count, [False] * count
        results: dict[int, EditResult] = {}
        for number in range(max(job.edit.passes for job in jobs)):
            live = [i for i in range(count) if number < jobs[i].edit.passes]
            passes = self._pass([now[i] for i in live], settings, run)
            for i, (result, inputs) in zip(live, passes, strict=True):
                entered[i] = entered[i] or inputs
                ended[i] |= result.stop_reason == "length"
                results[i] = result
                now[i] = replace(
                    self._in_pass(jobs[i], number + 1),
                    name=f"{jobs[i].name} after pass {number + 1}",
                    audio=result.audio,
                    text=result.text,
                    seed=pass_seed(jobs[i].seed, number + 1),
                )
        results = {i: self._marked(result, jobs[i]) for i, result in results.items()}
        for i, cut in enumerate(cuts):
            if cut is None:
                continue
            joined, place = splice(
                asked[i].audio, cut, results[i].audio, spoken=self._is_spoken(jobs[i])
            )
            results[i] = replace(
                results[i],
                audio=joined,
                span=place,
                text=asked[i].edit.text or asked[i].text,
                edits=(asked[i].edit,),
            )
        timings = run.share(count)
        return [
            replace(
                results[i],
                seed=jobs[i].seed,
                timings=timings,
                length_ratio=results[i].tokens.num_units / entered[i],
                # Speech that one pass has lost, no later pass brings back.
                stop_reason="length" if ended[i] else results[i].stop_reason,
            )
            for i in range(count)
        ]

    def _cut_out(
        self, job: Job, span: tuple[float, float] | None, run: Run
    ) -> tuple[Cut | None, Job]:
        """What is edited of a recording, and the job on it; None edits all of it."""
        edit, text, whole = job.edit, job.text, job.audio
        stretch = self._stretch(job) if span is None else None
        if stretch is not None:
            span, text, edit = stretch.span, stretch.text, Edit.paralinguistic(stretch.tagged)
        if span is None:
            return None, job
        cut = find_cut(whole, span, self.parts.tokenizer.spec.tokens.unit_seconds)
        voice = job.voice
        if voice is None and self._is_spoken(job):
            with run.stage("voice", 1):
                # A word or two would be a poor voice.
                voice = self.voice_prompt(whole)
        return cut, replace(job, audio=cut.of(whole), edit=edit, text=text, voice=voice)

    def _stretch(self, job: Job) -> SoundStretch | None:
        """The part that sounds are put in where the rest can stay; None edits all of it."""
        if self.defaults.part_seconds is None or not job.edit.text:
            return None
        if job.voice is not None and not job.own_voice:
            # Beside a stretch in another voice the rest would be in the old one.
            return None
        return sound_stretch(job.audio, job.text, job.edit.text)

    def _prepare(
        self, jobs: Sequence[Job], settings: Settings, run: Run, *, in_parts: bool = True
    ) -> tuple[list[_Ready], tuple[Tensor, Tensor] | None]:
        """Everything up to the language model, and the codebooks that tell its draws apart."""
        prompts = EditPrompts(self.parts, self.defaults)
        longest = self.defaults.part_seconds if in_parts else None
        for job in jobs:
            # Minutes of speech are refused before the work of tokenizing them.
            if longest is not None and not job.edit.text:
                check_duration(job.audio, job.name, "edited")
                continue
            prompts.check(job)
        with run.stage("tokenize", 1), working(self.parts.tokenizer):
            inputs = self._codes([job.audio for job in jobs])
            codebooks = self._codebooks()
        rows = [
            prompts.rows(job, tokens, settings, longest)
            for job, tokens in zip(jobs, inputs, strict=True)
        ]
        with run.stage("voice", 1), working(self.parts.speaker):
            ready = [
                _Ready(tokens, mine, job.voice or self._voice(job.audio, tokens))
                for job, tokens, mine in zip(jobs, inputs, rows, strict=True)
            ]
        return ready, codebooks

    def _pass(
        self, jobs: Sequence[Job], settings: Settings, run: Run
    ) -> list[tuple[EditResult, int]]:
        """Every edit once, and the units put in; timings are left to the caller."""
        written = [i for i, job in enumerate(jobs) if not self._is_on_recording(job)]
        for job in jobs:
            if self._is_on_recording(job):
                check_duration(job.audio, job.name, "edited")
        done = dict(
            zip(written, self._write([jobs[i] for i in written], settings, run), strict=True)
        )
        return [
            done[i] if i in done else self._change(job, settings, run) for i, job in enumerate(jobs)
        ]

    def _in_pass(self, job: Job, number: int) -> Job:
        """The job of one pass: another voice speaks what the last change of a recording leaves."""
        if number == job.edit.passes - 1 or not self._is_on_recording(job):
            return job
        return replace(job, voice=None)

    def _is_on_recording(self, job: Job) -> bool:
        """Whether the recording itself is changed, and nothing is written anew."""
        return self.defaults.changes_recording(job.edit)

    def _is_spoken(self, job: Job) -> bool:
        """Whether the decoder speaks the result."""
        return job.voice is not None or not self._is_on_recording(job)

    def _change(self, job: Job, settings: Settings, run: Run) -> tuple[EditResult, int]:
        """The recording itself, changed, and spoken again only where a voice is asked for."""
        audio = edit_recording(
            job.audio,
            job.edit,
            lengths=self.defaults.speeds,
            manners=self.defaults.manners,
            seed=job.seed,
        )
        with run.stage("tokenize", 1), working(self.parts.tokenizer):
            before, after = self._codes([job.audio, audio])
        mark = None
        if job.voice is not None:
            codes = [part.tokens for part in cut_at_pauses(after, audio)]
            (audio,) = self._spoken([codes], [job.voice], [job.seed], run, settings)
            mark = self._note(job.seed)
        result = EditResult(
            audio=audio,
            tokens=after,
            text=job.text,
            edits=(job.edit,),
            stop_reason="end",
            seed=job.seed,
            timings={},
            length_ratio=None,
            watermark=mark,
        )
        return result, before.num_units

    def _marked(self, result: EditResult, job: Job) -> EditResult:
        """The result with a mark if it says something in another manner than the speaker did.

        What the decoder spoke has its mark already; less noise or silence, or another tempo, is no
        more than a recording can lose anywhere. The passes of an edit are marked once, after all.
        """
        if self._is_spoken(job) or job.edit.kind not in MANNER_EDITS:
            return result
        sound, rate = result.audio.samples, result.audio.sample_rate
        pieces = list(mark([sound], self.watermarker, result.seed, rate))
        audio = Audio(torch.cat(pieces), rate)
        return replace(result, audio=audio, watermark=self._note(result.seed))

    def _write(
        self, jobs: Sequence[Job], settings: Settings, run: Run
    ) -> list[tuple[EditResult, int]]:
        """What :meth:`_pass` gives of edits that the language model writes."""
        if not jobs:
            return []
        ready, codebooks = self._prepare(jobs, settings, run)
        seeds = [job.seed for job in jobs]
        rows = [row for one in ready for row in one.rows]
        written: list[tuple[SpeechTokens, StopReason]] = []
        for first in range(0, len(rows), ROWS_TOGETHER):
            some = rows[first : first + ROWS_TOGETHER]
            found = write_edits(
                self.parts.lm,
                [row.prompt for row in some],
                [row.limit for row in some],
                [row.entered for row in some],
                [row.wanted for row in some],
                settings.sampling,
                [row.seed for row in some],
                run,
                draws=self.defaults.draws,
                codebooks=codebooks,
                contrasts=[row.contrasts for row in some],
            )
            written += zip(*found, strict=True)
        left = iter(written)
        outputs = [list(islice(left, len(one.rows))) for one in ready]
        codes = [[tokens for tokens, _ in one] for one in outputs]
        voices = [self._spoken_in(one, job) for one, job in zip(ready, jobs, strict=True)]
        sounds = self._spoken(codes, voices, seeds, run, settings)
        return [
            (
                EditResult(
                    audio=sounds[i],
                    tokens=join_codes(codes[i]),
                    text=job.edit.text or job.text,
                    edits=(job.edit,),
                    stop_reason=outcome(stop for _, stop in outputs[i]),
                    seed=job.seed,
                    timings={},
                    length_ratio=None,
                    watermark=self._note(job.seed),
                ),
                ready[i].entered.num_units,
            )
            for i, job in enumerate(jobs)
        ]

    def _spoken(
        self,
        codes: Sequence[list[SpeechTokens]],
        voices: Sequence[VoicePrompt],
        seeds: Sequence[int],
        run: Run,
        settings: Settings,
    ) -> list[Audio]:
        """Every sample as one, but for those whose parts together are too long for the decoder."""
        parts = [join_parts(one) for one in codes]
        short = [i for i, one in enumerate(parts) if len(one) == 1]
        sounds = self._render(
            [parts[i][0] for i in short],
            [voices[i] for i in short],
            [seeds[i] for i in short],
            run,
            settings.steps,
            settings.guidance,
        )
        found = dict(zip(short, sounds, strict=True))
        for i, one in enumerate(parts):
            if i not in found:
                found[i] = self._render_parts(
                    one, [voices[i]] * len(one), seeds[i], run, settings.steps, settings.guidance
                )
        return [found[i] for i in range(len(codes))]

    def _spoken_in(self, ready: _Ready, job: Job) -> VoicePrompt:
        """The voice of the result."""
        timbre = self.defaults.timbres.get(job.edit.published_label)
        return with_timbre(ready.voice, timbre) if timbre else ready.voice

    def _codebooks(self) -> tuple[Tensor, Tensor] | None:
        """Copies on the CPU, because the tokenizer may be freed before the draws are there."""
        found = self.parts.tokenizer.codebooks() if self.defaults.draws > 1 else None
        if found is None:
            return None
        linguistic, semantic = (b.detach().to("cpu", torch.float64, copy=True) for b in found)
        return linguistic, semantic

    @torch.no_grad()
    def _chunks(self, job: Job, settings: Settings, run: Run) -> Generator[Audio, None, EditResult]:
        """All passes of one edit, the last one spoken while it is written."""
        first, entered, cut = job, 0, False
        job = self._in_pass(first, 0)
        for number in range(job.edit.passes - 1):
            ((before, units),) = self._pass([job], settings, run)
            entered, cut = entered or units, cut or before.stop_reason == "length"
            job = replace(
                self._in_pass(first, number + 1),
                name=f"{first.name} after pass {number + 1}",
                audio=before.audio,
                text=before.text,
                seed=pass_seed(first.seed, number + 1),
            )
        if self._is_on_recording(job):
            ((result, units),) = self._pass([job], settings, run)
            result = self._marked(result, job)
            yield result.audio
            return replace(
                result,
                seed=first.seed,
                timings=run.share(1),
                length_ratio=result.tokens.num_units / (entered or units),
            )
        (ready,), _ = self._prepare([job], settings, run, in_parts=False)
        (row,) = ready.rows
        codes = CodeStream(
            self.parts.lm,
            row.prompt,
            row.limit,
            settings.sampling,
            job.seed,
            run,
            row.contrasts,
        )
        spoken = yield from self._speak(
            [codes],
            self._spoken_in(ready, job),
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
            watermark=self._note(job.seed),
        )


def pass_seed(seed: int, number: int) -> int:
    """Seed of a pass: the run's own for the first, so that one pass and one run agree.

    Args:
        seed: of the run.
        number: of the pass, from 0.

    Returns:
        The seed.
    """
    return derive_seed(seed, f"pass {number}") if number else seed
