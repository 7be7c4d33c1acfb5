"""Zero-shot speech: new words in a voice heard once, the paper's iteration 0.

The voice is the prompt of the language model and of the decoder alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch

from stepaudio.audio import AudioSource
from stepaudio.errors import PromptError
from stepaudio.pipeline_base import Pipeline, check_settings
from stepaudio.prompts import encode_clone_prompt
from stepaudio.result import Cancel, EditResult, Progress, Run
from stepaudio.seeds import choose_seeds
from stepaudio.synthesis import check_room, write_codes
from stepaudio.tokenizers.interleave import to_text
from stepaudio.types import SamplingParams, VoicePrompt

__all__ = ["TTSPipeline"]


class TTSPipeline(Pipeline):
    """Speaks new words in a voice it has heard once.

    Args:
        parts: one object per stage.
        defaults: how to run unless a call says otherwise.
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
        cancel: Cancel | None = None,
        progress: Progress | None = None,
    ) -> EditResult | list[EditResult]:
        """Say something, or a list of things as a batch.

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
        seeds = choose_seeds(seed, generator, len(texts))
        how = self.defaults.sampling if sampling is None else sampling
        spec = self.parts.lm.spec
        run = Run(cancel, progress)
        with run.stage("voice", 1):
            if isinstance(voice, VoicePrompt):
                self._checked(voice)
            else:
                voice = self.voice_prompt(voice, voice_text)
        transcript = voice_text or voice.transcript
        spoken = to_text(voice.tokens)
        prompts = [
            encode_clone_prompt(
                self.parts.text, words, transcript, spoken, layout=self.defaults.layout
            )
            for words in texts
        ]
        units = voice.tokens.num_units
        for ids in prompts:
            words = len(ids) - units * spec.tokens.unit_length
            check_room(words, units, spec, answered=False, name="the voice")
        limits = [how.max_new_tokens] * len(texts)
        outputs, reasons = write_codes(self.parts.lm, prompts, limits, how, seeds, run)
        voices = [voice] * len(texts)
        sounds = self._render(outputs, voices, seeds, run, steps, guidance)
        timings = run.share(len(texts))
        results = [
            EditResult(sounds[i], outputs[i], words, (), reasons[i], seeds[i], timings, None)
            for i, words in enumerate(texts)
        ]
        return results if batch else results[0]
