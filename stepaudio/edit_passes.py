"""One pass of an edit, and the passes of one edit as a stream.

A strength above 1 of an emotion or a style is more than one pass; see
:class:`stepaudio.pipeline.EditPipeline`, which is what programs use.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.cutting import cut_at_pauses, join_codes, share_words, sound_units
from stepaudio.edits import Edit
from stepaudio.errors import EditError
from stepaudio.offload import working
from stepaudio.parts import RECORDING_EDITS
from stepaudio.pipeline_base import Pipeline
from stepaudio.prompts import encode_edit_prompt
from stepaudio.redraw import write_edits
from stepaudio.result import EditResult, Run
from stepaudio.seeds import derive_seed
from stepaudio.spans import Cut, find_cut, splice
from stepaudio.synthesis import check_room, check_settings
from stepaudio.tokenizers.interleave import to_text
from stepaudio.types import SamplingParams, SpeechTokens, StopReason, VoicePrompt
from stepaudio.voice import with_timbre

__all__ = ["EditPasses", "Job", "Settings", "pass_seed"]

# An edit of a very short recording may still add a laugh.
_ALWAYS_ALLOWED_SECONDS = 3.0


@dataclass(frozen=True)
class Job:
    """One sample of one pass.

    Attributes:
        name: what an error calls the recording.
        audio: the recording.
        edit: what to do.
        text: the words spoken in it.
        seed: of this pass.
        voice: to speak in; None is the recording's own.
    """

    name: str
    audio: Audio
    edit: Edit
    text: str
    seed: int
    voice: VoicePrompt | None


@dataclass(frozen=True)
class Settings:
    """What all samples of a call share.

    Attributes:
        sampling: how the language model draws.
        max_length_ratio: most times as long as its input that a result may be.
        steps: solver steps of the flow; None is the model's own.
        guidance: guidance rate of the flow; None is the model's own.
    """

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


class _Row(NamedTuple):
    """What the language model edits at once: a recording, or a part of it.

    Attributes:
        entered: its codes.
        prompt: ids.
        limit: most new ids.
        wanted: units asked for; None asks for no length.
        seed: of its first draw.
    """

    entered: SpeechTokens
    prompt: list[int]
    limit: int
    wanted: float | None
    seed: int


class EditPasses(Pipeline):
    """What :class:`~stepaudio.pipeline.EditPipeline` does between its checks and its results.

    Args:
        parts: one object per stage.
        defaults: how to run unless a call says otherwise.
        name: of the model, for the provenance of what it makes.
        watermarker: marks all sound that is made; None makes unmarked sound.
    """

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
        wholes = [job.audio for job in jobs]
        cuts: list[Cut] = []
        if spans is not None:
            unit = self.parts.tokenizer.spec.tokens.unit_seconds
            cuts = [find_cut(whole, span, unit) for whole, span in zip(wholes, spans, strict=True)]
            with run.stage("voice", 1):
                # A word or two would be a poor voice.
                jobs = [
                    replace(
                        job,
                        audio=cut.of(job.audio),
                        voice=None
                        if self._is_direct(job)
                        else job.voice or self.voice_prompt(job.audio),
                    )
                    for job, cut in zip(jobs, cuts, strict=True)
                ]
        count = len(jobs)
        now, entered, ended = list(jobs), [0] * count, [False] * count
        results: dict[int, EditResult] = {}
        for number in range(max(job.edit.passes for job in jobs)):
            live = [i for i in range(count) if number < jobs[i].edit.passes]
            passes = self._pass([now[i] for i in live], settings, run)
            for i, (result, inputs) in zip(live, passes, strict=True):
                entered[i] = entered[i] or inputs
                ended[i] |= result.stop_reason == "length"
                results[i] = result
                now[i] = replace(
                    jobs[i],
                    name=f"{jobs[i].name} after pass {number + 1}",
                    audio=result.audio,
                    text=result.text,
                    seed=pass_seed(jobs[i].seed, number + 1),
                )
        for i, cut in enumerate(cuts):
            joined, place = splice(
                wholes[i], cut, results[i].audio, spoken=not self._is_direct(jobs[i])
            )
            results[i] = replace(results[i], audio=joined, span=place)
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

    def _prepare(
        self, jobs: Sequence[Job], settings: Settings, run: Run
    ) -> tuple[list[_Ready], tuple[Tensor, Tensor] | None]:
        """Everything up to the language model, and the codebooks that tell its draws apart."""
        spec = self.parts.lm.spec
        for job in jobs:
            # Minutes of speech are refused before the work of tokenizing them.
            words = len(self._prompt(job, "<audio_0>")) - 1
            units = sound_units(job.audio, spec.tokens)
            check_room(words, units, spec, answered=True, name=job.name)
        with run.stage("tokenize", 1), working(self.parts.tokenizer):
            inputs = self.parts.tokenizer.encode([job.audio for job in jobs])
            codebooks = self._codebooks()
        asked = [
            self._asked(job, tokens, settings) for job, tokens in zip(jobs, inputs, strict=True)
        ]
        with run.stage("voice", 1), working(self.parts.speaker):
            ready = [
                _Ready(tokens, ids, limit, job.voice or self._voice(job.audio, tokens))
                for job, tokens, (ids, limit) in zip(jobs, inputs, asked, strict=True)
            ]
        return ready, codebooks

    def _asked(self, job: Job, tokens: SpeechTokens, settings: Settings) -> tuple[list[int], int]:
        """Prompt and most new ids for codes to be edited."""
        spec = self.parts.lm.spec
        ids, units = self._prompt(job, to_text(tokens)), tokens.num_units
        words = len(ids) - units * spec.tokens.unit_length
        check_room(words, units, spec, answered=True, name=job.name)
        allowed = max(tokens.seconds * settings.max_length_ratio, _ALWAYS_ALLOWED_SECONDS)
        units = math.ceil(allowed / float(spec.tokens.unit_seconds))
        return ids, min(settings.sampling.max_new_tokens, units * spec.tokens.unit_length)

    def _rows(self, job: Job, ready: _Ready, settings: Settings) -> list[_Row]:
        """A job as the language model writes it: as a whole, or part by part."""
        longest = self.defaults.part_seconds
        ratio = self.defaults.speeds.get(job.edit.published_label)

        def row(number: int, tokens: SpeechTokens, ids: list[int], limit: int) -> _Row:
            wanted = None if ratio is None else ratio * tokens.num_units
            seed = derive_seed(job.seed, f"part {number}") if number else job.seed
            return _Row(tokens, ids, limit, wanted, seed)

        parts = [ready.entered]
        if longest is not None and job.edit.kind != "paralinguistic":
            found = cut_at_pauses(ready.entered, job.audio, whole=longest, longest_part=longest)
            parts = [part.tokens for part in found]
        texts = share_words(job.text, [part.num_units for part in parts])
        if len(parts) == 1 or (job.text and not all(texts)):
            return [row(0, ready.entered, ready.prompt, ready.limit)]
        return [
            row(number, tokens, *self._asked(replace(job, text=text), tokens, settings))
            for number, (tokens, text) in enumerate(zip(parts, texts, strict=True))
        ]

    def _pass(
        self, jobs: Sequence[Job], settings: Settings, run: Run
    ) -> list[tuple[EditResult, int]]:
        """Every edit once, and the units put in; timings are left to the caller."""
        written = [i for i, job in enumerate(jobs) if not self._is_direct(job)]
        done = dict(
            zip(written, self._write([jobs[i] for i in written], settings, run), strict=True)
        )
        return [done[i] if i in done else self._direct(job, run) for i, job in enumerate(jobs)]

    def _is_direct(self, job: Job) -> bool:
        """Whether the recording itself is changed, and nothing is written or spoken."""
        return job.voice is None and job.edit.kind in self.defaults.on_recording

    def _direct(self, job: Job, run: Run) -> tuple[EditResult, int]:
        """The recording itself, changed. Nothing in it is synthetic, so nothing is marked."""
        audio = RECORDING_EDITS[job.edit.kind](job.audio)
        with run.stage("tokenize", 1), working(self.parts.tokenizer):
            before, after = self.parts.tokenizer.encode([job.audio, audio])
        result = EditResult(
            audio=audio,
            tokens=after,
            text=job.text,
            edits=(job.edit,),
            stop_reason="end",
            seed=job.seed,
            timings={},
            length_ratio=None,
        )
        return result, before.num_units

    def _write(
        self, jobs: Sequence[Job], settings: Settings, run: Run
    ) -> list[tuple[EditResult, int]]:
        """What :meth:`_pass` gives of edits that the language model writes."""
        if not jobs:
            return []
        ready, codebooks = self._prepare(jobs, settings, run)
        seeds = [job.seed for job in jobs]
        rows = [self._rows(job, one, settings) for job, one in zip(jobs, ready, strict=True)]
        flat = [row for one in rows for row in one]
        written, ends = write_edits(
            self.parts.lm,
            [row.prompt for row in flat],
            [row.limit for row in flat],
            [row.entered for row in flat],
            [row.wanted for row in flat],
            settings.sampling,
            [row.seed for row in flat],
            run,
            draws=self.defaults.draws,
            codebooks=codebooks,
        )
        outputs: list[SpeechTokens] = []
        reasons: list[StopReason] = []
        codes, stops = iter(written), iter(ends)
        for one in rows:
            outputs.append(join_codes(list(islice(codes, len(one)))))
            mine = list(islice(stops, len(one)))
            reasons.append(next((stop for stop in mine if stop != "end"), "end"))
        voices = [self._spoken_in(one, job) for one, job in zip(ready, jobs, strict=True)]
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
                    watermark=self._note(job.seed),
                ),
                ready[i].entered.num_units,
            )
            for i, job in enumerate(jobs)
        ]

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

    def _prompt(self, job: Job, codes: str) -> list[int]:
        layout = self.defaults.layout
        return encode_edit_prompt(self.parts.text, job.edit, codes, job.text, layout=layout)

    @torch.no_grad()
    def _chunks(self, job: Job, settings: Settings, run: Run) -> Generator[Audio, None, EditResult]:
        """All passes of one edit, the last one spoken while it is written."""
        first, entered, cut = job, 0, False
        for number in range(job.edit.passes - 1):
            ((before, units),) = self._pass([job], settings, run)
            entered, cut = entered or units, cut or before.stop_reason == "length"
            job = replace(
                first,
                name=f"{first.name} after pass {number + 1}",
                audio=before.audio,
                text=before.text,
                seed=pass_seed(first.seed, number + 1),
            )
        if self._is_direct(job):
            result, units = self._direct(job, run)
            yield result.audio
            return replace(
                result, timings=run.share(1), length_ratio=result.tokens.num_units / units
            )
        (ready,), _ = self._prepare([job], settings, run)
        spoken = yield from self._speak(
            ready.prompt,
            ready.limit,
            self._spoken_in(ready, job),
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
