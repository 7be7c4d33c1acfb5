"""What the language model is asked of an edit: prompts, limits, lengths that fit, contrasts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from stepaudio.audio import Audio
from stepaudio.cutting import cut_at_pauses, share_words, shuffle_units, sound_units
from stepaudio.edits import Edit
from stepaudio.parts import Defaults, Parts
from stepaudio.prompts import encode_edit_prompt
from stepaudio.redraw import Lengths
from stepaudio.seeds import part_seed
from stepaudio.synthesis import check_room
from stepaudio.tokenizers.interleave import to_text
from stepaudio.types import Contrast, SamplingParams, SpeechTokens, VoicePrompt

__all__ = ["EditPrompts", "EditRow", "Job", "Settings"]

# An edit of a very short recording may still add a laugh.
_ALWAYS_ALLOWED_SECONDS = 3.0
# A draw that is no longer than the recording has left the sound out.
_SOUND_SECONDS = (0.25, 2.5)


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
        own_voice: ``voice`` is the recording's own too, that of the first iteration.
    """

    name: str
    audio: Audio
    edit: Edit
    text: str
    seed: int
    voice: VoicePrompt | None
    own_voice: bool = False


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


class EditRow(NamedTuple):
    """What the language model edits at once: a recording, or a part of it.

    Attributes:
        entered: its codes.
        prompt: ids.
        limit: most new ids.
        wanted: lengths that fit; None asks for no length.
        seed: of its first draw.
        contrasts: prompts to keep away from.
    """

    entered: SpeechTokens
    prompt: list[int]
    limit: int
    wanted: Lengths | None
    seed: int
    contrasts: list[Contrast]


@dataclass(frozen=True)
class EditPrompts:
    """Makes the rows of the language model.

    Attributes:
        parts: of the pipeline.
        defaults: how its model wants to be run.
    """

    parts: Parts
    defaults: Defaults

    def check(self, job: Job) -> None:
        """Refuse a recording that cannot be written as a whole, before it is tokenized.

        Args:
            job: on the recording.

        Raises:
            PromptError: it does not fit the context.
        """
        spec = self.parts.lm.spec
        words = len(self._prompt(job, "<audio_0>")) - 1
        units = sound_units(job.audio, spec.tokens)
        check_room(words, units, spec, answered=True, name=job.name)

    def rows(
        self, job: Job, tokens: SpeechTokens, settings: Settings, longest: float | None
    ) -> list[EditRow]:
        """A job as the language model writes it: as a whole, or in parts up to some seconds."""
        parts, texts = [tokens], [job.text]
        # Nobody knows in which part a sound belongs.
        if longest is not None and not job.edit.text:
            found = cut_at_pauses(tokens, job.audio, whole=longest, longest_part=longest)
            shared = share_words(job.text, [part.tokens.num_units for part in found])
            if all(shared) or not job.text:
                parts, texts = [part.tokens for part in found], shared
        return [
            self._row(
                replace(job, text=text, seed=part_seed(job.seed, number)),
                part,
                settings,
            )
            for number, (part, text) in enumerate(zip(parts, texts, strict=True))
        ]

    def _row(self, job: Job, tokens: SpeechTokens, settings: Settings) -> EditRow:
        """What the language model is asked, of codes that it edits at once."""
        spec = self.parts.lm.spec
        ids, units = self._prompt(job, to_text(tokens)), tokens.num_units
        words = len(ids) - units * spec.tokens.unit_length
        check_room(words, units, spec, answered=True, name=job.name)
        allowed = max(tokens.seconds * settings.max_length_ratio, _ALWAYS_ALLOWED_SECONDS)
        limit = settings.sampling.max_new_tokens
        # Without end it may become as long as the context has room for.
        if math.isfinite(allowed):
            most = math.ceil(allowed / float(spec.tokens.unit_seconds)) * spec.tokens.unit_length
            limit = min(limit, most)
        wanted, contrasts = self._lengths(job, tokens), self._contrasts(job, tokens)
        return EditRow(tokens, ids, limit, wanted, job.seed, contrasts)

    def _contrasts(self, job: Job, tokens: SpeechTokens) -> list[Contrast]:
        """What lacks the order of the recording, and what lacks the edit."""
        if not self.parts.lm.can_be_guided:
            return []
        found = []
        if self.defaults.guidance_words:
            found.append((job, shuffle_units(tokens), self.defaults.guidance_words))
        weight = self.defaults.guidance_edit.get(job.edit.published_label or job.edit.kind, 0.0)
        plain = Edit.remove("style" if job.edit.kind == "style" else "emotion")
        if weight and job.text and job.edit != plain:
            found.append((replace(job, edit=plain), tokens, weight))
        return [
            Contrast(torch.tensor(self._prompt(other, to_text(codes))), weight)
            for other, codes, weight in found
        ]

    def _lengths(self, job: Job, tokens: SpeechTokens) -> Lengths | None:
        """How long an edit of the codes may become, where that is known."""
        ratio = self.defaults.speeds.get(job.edit.published_label)
        if ratio is not None:
            return Lengths.around(ratio * tokens.num_units)
        if not job.edit.text:
            return None
        new = max(0, job.edit.text.count("[") - job.text.count("["))
        least, most = (
            tokens.num_units + new * seconds / float(tokens.spec.unit_seconds)
            for seconds in _SOUND_SECONDS
        )
        return Lengths(least, most)

    def _prompt(self, job: Job, codes: str) -> list[int]:
        layout = self.defaults.layout
        return encode_edit_prompt(self.parts.text, job.edit, codes, job.text, layout=layout)
