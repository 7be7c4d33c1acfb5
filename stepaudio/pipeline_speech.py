"""Zero-shot speech: new words in a voice heard once, the paper's iteration 0.

The voice is the prompt of the language model and of the decoder alike.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import islice
from typing import overload

import torch

from stepaudio.audio import Audio, AudioSource
from stepaudio.cutting import join_codes, shuffle_letters
from stepaudio.errors import PromptError
from stepaudio.pipeline_base import Pipeline
from stepaudio.prompts import encode_clone_prompt
from stepaudio.result import Cancel, EditResult, Progress, Run
from stepaudio.safety.consent import ConsentRecord
from stepaudio.safety.policy import PolicyName, SafetyPolicy
from stepaudio.seeds import choose_seeds, part_seed
from stepaudio.sentences import TextPart, split_text
from stepaudio.streaming import AudioStream, CodeStream
from stepaudio.synthesis import (
    ROWS_TOGETHER,
    check_room,
    check_settings,
    outcome,
    write_codes,
)
from stepaudio.tokenizers.interleave import to_text
from stepaudio.types import Contrast, SamplingParams, SpeechTokens, StopReason, VoicePrompt

__all__ = ["TTSPipeline"]


class TTSPipeline(Pipeline):
    """Speaks new words in a voice it has heard once.

    Args:
        parts: one object per stage.
        defaults: how to run unless a call says otherwise.
        name: of the model, for the provenance of what it makes.
        watermarker: marks all sound that is made; None makes unmarked sound.
    """

    @overload
    def speak(
        self,
        text: list[str],
        *,
        voice: VoicePrompt | AudioSource,
        voice_text: str = ...,
        seed: int | Sequence[int] | None = ...,
        generator: torch.Generator | None = ...,
        sampling: SamplingParams | None = ...,
        steps: int | None = ...,
        guidance: float | None = ...,
        consent: ConsentRecord | None = ...,
        policy: SafetyPolicy | PolicyName | None = ...,
        cancel: Cancel | None = ...,
        progress: Progress | None = ...,
    ) -> list[EditResult]: ...

    @overload
    def speak(
        self,
        text: str,
        *,
        voice: VoicePrompt | AudioSource,
        voice_text: str = ...,
        seed: int | None = ...,
        generator: torch.Generator | None = ...,
        sampling: SamplingParams | None = ...,
        steps: int | None = ...,
        guidance: float | None = ...,
        consent: ConsentRecord | None = ...,
        policy: SafetyPolicy | PolicyName | None = ...,
        cancel: Cancel | None = ...,
        progress: Progress | None = ...,
    ) -> EditResult: ...

    @torch.no_grad()
    def speak(
        self,
        text: str | list[str],
        *,
        voice: VoicePrompt | AudioSource,
        voice_text: str = "",
        seed: int | Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        sampling: SamplingParams | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        consent: ConsentRecord | None = None,
        policy: SafetyPolicy | PolicyName | None = None,
        cancel: Cancel | None = None,
        progress: Progress | None = None,
    ) -> EditResult | list[EditResult]:
        """Say something, or a list of things as a batch.

        A text that takes longer than the model's :attr:`~stepaudio.parts.Defaults.part_seconds` is
        spoken in parts, cut where sentences or clauses end, with a pause after each
        (:mod:`stepaudio.sentences`); the codes of the result are those of the parts, without the
        pauses.

        Args:
            text: what to say; may begin with one of :data:`stepaudio.edits.DIALECT_TAGS`.
            voice: from :meth:`voice_prompt` or a file, or a recording of the voice.
            voice_text: the words spoken in that recording; without them the voice is matched less
                well. Replaces the transcript of a voice that has one.
            seed: repeats a result; None draws one per sample.
            generator: source of the seeds that are not given.
            sampling: how the language model draws; None is the model's own way.
            steps: solver steps of the flow.
            guidance: guidance rate of the flow.
            consent: of the speaker of ``voice``, to clone it. The default policy refuses without;
                see ``docs/safety.md``.
            policy: what needs consent; None is the policy ``"standard"``.
            cancel: asked between stages and tokens; True stops.
            progress: told the stage, the steps done and the most steps it takes.

        Returns:
            The result, or a list of them; ``stop_reason`` is ``"length"`` if it was cut.

        Raises:
            AudioError: the voice's recording cannot be read, is silent or too short.
            EditError: settings that make no sense.
            PromptError: nothing to say, a voice too long for the model's context, or words of
                a recording too long to be used whole (see :meth:`voice_prompt`).
            SpecMismatchError: the voice was made by another model.
            NoConsentError: no consent was given, and the policy asks for it.
            SafetyError: the consent does not allow it; see
                :func:`stepaudio.safety.policy.permit`.
            GenerationError: the language model wrote nothing that can be decoded.
            CancelledError: ``cancel`` returned True.
        """
        check_settings(sampling, steps, guidance)
        batch = isinstance(text, list | tuple)
        texts = [text] if isinstance(text, str) else list(text)
        if not texts:
            return []
        if not all(words.strip() for words in texts):
            raise PromptError("there is no text to speak")
        SafetyPolicy.of(policy).require("clone", consent)
        seeds = choose_seeds(seed, generator, len(texts))
        how = self.defaults.sampling if sampling is None else sampling
        run = Run(cancel, progress)
        voice = self._heard(voice, voice_text, run)
        allowed = self._permit(policy, consent, None, voice)
        cut = [split_text(words, self.defaults.part_seconds) for words in texts]
        written = self._write(cut, voice, voice_text, how, seeds, run)
        codes = [[tokens for tokens, _ in one] for one in written]
        sounds = self._spoken(codes, cut, voice, seeds, run, steps, guidance)
        timings = run.share(len(texts))
        results = [
            EditResult(
                audio=sounds[i],
                tokens=join_codes(codes[i]),
                text=words,
                edits=(),
                stop_reason=outcome(reason for _, reason in written[i]),
                seed=seeds[i],
                timings=timings,
                length_ratio=None,
                watermark=self._note(seeds[i]),
            )
            for i, words in enumerate(texts)
        ]
        traced = [self._traced(result, "speak", allowed, None) for result in results]
        return traced if batch else traced[0]

    def stream(
        self,
        text: str,
        *,
        voice: VoicePrompt | AudioSource,
        voice_text: str = "",
        seed: int | None = None,
        generator: torch.Generator | None = None,
        sampling: SamplingParams | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        consent: ConsentRecord | None = None,
        policy: SafetyPolicy | PolicyName | None = None,
        cancel: Cancel | None = None,
        progress: Progress | None = None,
    ) -> AudioStream:
        """Say something and hear it while the language model still writes.

        A long text is spoken part by part, as :meth:`speak` does.

        With the same seed the codes are those of :meth:`speak`. The sound differs a little, because
        the flow decoder cannot look further ahead than one unit; see
        :mod:`stepaudio.decoder.streaming`.

        Args:
            text: what to say; may begin with one of :data:`stepaudio.edits.DIALECT_TAGS`.
            voice: from :meth:`voice_prompt` or a file, or a recording of the voice.
            voice_text: the words spoken in that recording, as in :meth:`speak`.
            seed: repeats a result; None draws one.
            generator: source of the seed if none is given.
            sampling: how the language model draws; None is the model's own way.
            steps: solver steps of the flow.
            guidance: guidance rate of the flow.
            consent: of the speaker of ``voice``, to clone it. The default policy refuses without;
                see ``docs/safety.md``.
            policy: what needs consent; None is the policy ``"standard"``.
            cancel: asked between stages, chunks and tokens; True stops.
            progress: told the stage, the steps done and the most steps it takes.

        Returns:
            The chunks, to be iterated over; nothing is computed before the first is asked for.

        Raises:
            AudioError: the voice's recording cannot be read, is silent or too short.
            EditError: settings that make no sense.
            PromptError: nothing to say.
            NoConsentError: no consent was given, and the policy asks for it. A consent that does
                not allow it is refused when the first chunk is asked for.
            SpecMismatchError: the voice was made by another model.
        """
        check_settings(sampling, steps, guidance)
        if not text.strip():
            raise PromptError("there is no text to speak")
        rules = SafetyPolicy.of(policy)
        rules.require("clone", consent)
        chosen = choose_seeds(seed, generator, 1)[0]
        how = self.defaults.sampling if sampling is None else sampling
        known = self._checked(voice) if isinstance(voice, VoicePrompt) else self._load(voice)
        run = Run(cancel, progress)
        return AudioStream(
            self._chunks(
                text, known, voice_text, chosen, how, run, steps, guidance, consent, rules
            ),
            chosen,
        )

    @torch.no_grad()
    def _chunks(
        self,
        text: str,
        voice: VoicePrompt | Audio,
        voice_text: str,
        seed: int,
        sampling: SamplingParams,
        run: Run,
        steps: int | None,
        guidance: float | None,
        consent: ConsentRecord | None,
        policy: SafetyPolicy,
    ) -> Generator[Audio, None, EditResult]:
        voice = self._heard(voice, voice_text, run)
        allowed = self._permit(policy, consent, None, voice)
        parts = split_text(text, self.defaults.part_seconds)
        texts = [part.text for part in parts]
        prompts = self._prompts(texts, voice, voice_text)
        contrasts = self._contrasts(texts, voice, voice_text)
        codes = [
            CodeStream(
                self.parts.lm,
                prompt,
                sampling.max_new_tokens,
                sampling,
                part_seed(seed, number),
                run,
                contrasts[number],
            )
            for number, prompt in enumerate(prompts)
        ]
        pauses = [part.pause for part in parts]
        spoken = yield from self._speak(codes, voice, seed, run, steps, guidance, pauses)
        result = EditResult(
            audio=spoken.audio,
            tokens=spoken.tokens,
            text=text,
            edits=(),
            stop_reason=spoken.reason,
            seed=seed,
            timings=run.share(1),
            length_ratio=None,
            watermark=self._note(seed),
        )
        return self._traced(result, "speak", allowed, None)

    def _heard(self, voice: VoicePrompt | AudioSource, voice_text: str, run: Run) -> VoicePrompt:
        with run.stage("voice", 1):
            if isinstance(voice, VoicePrompt):
                return self._checked(voice)
            return self.voice_prompt(voice, voice_text)

    def _write(
        self,
        cut: Sequence[Sequence[TextPart]],
        voice: VoicePrompt,
        voice_text: str,
        sampling: SamplingParams,
        seeds: Sequence[int],
        run: Run,
    ) -> list[list[tuple[SpeechTokens, StopReason]]]:
        """Codes of every part of every text, and why each ended."""
        texts = [part.text for parts in cut for part in parts]
        each = [
            part_seed(seed, number)
            for parts, seed in zip(cut, seeds, strict=True)
            for number in range(len(parts))
        ]
        prompts = self._prompts(texts, voice, voice_text)
        contrasts = self._contrasts(texts, voice, voice_text)
        written: list[tuple[SpeechTokens, StopReason]] = []
        for first in range(0, len(texts), ROWS_TOGETHER):
            some = slice(first, first + ROWS_TOGETHER)
            limits = [sampling.max_new_tokens] * len(prompts[some])
            found = write_codes(
                self.parts.lm, prompts[some], limits, sampling, each[some], run, contrasts[some]
            )
            written += zip(*found, strict=True)
        left = iter(written)
        return [list(islice(left, len(parts))) for parts in cut]

    def _spoken(
        self,
        codes: Sequence[list[SpeechTokens]],
        cut: Sequence[Sequence[TextPart]],
        voice: VoicePrompt,
        seeds: Sequence[int],
        run: Run,
        steps: int | None,
        guidance: float | None,
    ) -> list[Audio]:
        """Texts of one part together, those of several part by part with their pauses."""
        whole = [i for i, parts in enumerate(codes) if len(parts) == 1]
        sounds = self._render(
            [codes[i][0] for i in whole],
            [voice] * len(whole),
            [seeds[i] for i in whole],
            run,
            steps,
            guidance,
        )
        found = dict(zip(whole, sounds, strict=True))
        for i, parts in enumerate(codes):
            if i not in found:
                voices, pauses = [voice] * len(parts), [part.pause for part in cut[i]]
                found[i] = self._render_parts(parts, voices, seeds[i], run, steps, guidance, pauses)
        return [found[i] for i in range(len(codes))]

    def _prompts(
        self, texts: Sequence[str], voice: VoicePrompt, voice_text: str
    ) -> list[list[int]]:
        """What the language model reads; refused if the voice leaves no room for an answer."""
        spec, units = self.parts.lm.spec, voice.tokens.num_units
        transcript = voice_text or voice.transcript
        spoken = to_text(voice.tokens)
        prompts = [
            encode_clone_prompt(
                self.parts.text, words, transcript, spoken, layout=self.defaults.layout
            )
            for words in texts
        ]
        for ids in prompts:
            words = len(ids) - units * spec.tokens.unit_length
            check_room(words, units, spec, answered=False, name="the voice")
        return prompts

    def _contrasts(
        self, texts: Sequence[str], voice: VoicePrompt, voice_text: str
    ) -> list[list[Contrast]]:
        """The same voice with the letters in disorder, for each of the texts."""
        weight = self.defaults.guidance_text
        if not weight or not self.parts.lm.can_be_guided:
            return [[] for _ in texts]
        mixed = [shuffle_letters(words) for words in texts]
        prompts = self._prompts(mixed, voice, voice_text)
        return [[Contrast(torch.tensor(prompt), weight)] for prompt in prompts]
