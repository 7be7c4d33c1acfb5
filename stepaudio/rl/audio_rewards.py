"""Rewards that listen: words, voice and emotion of the sound the tokens become.

They are slow, for every response goes through the flow decoder and the vocoder, and they measure
with the instruments of :mod:`stepaudio.evaluation`. A judge that was a reward must not be the judge
of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from stepaudio.audio import Audio
from stepaudio.evaluation.contracts import Judge, Metric, Sample
from stepaudio.evaluation.recognizer import Recognizer
from stepaudio.evaluation.speakers import SpeakerSimilarity, VoiceEmbedder
from stepaudio.evaluation.words import WordErrors
from stepaudio.pipeline_base import Pipeline
from stepaudio.result import Run
from stepaudio.rl.prompt_rows import PromptRow
from stepaudio.rl.rewards import Movable
from stepaudio.synthesis import render
from stepaudio.tokenizers.interleave import deinterleave, truncate_ids
from stepaudio.types import VoicePrompt

__all__ = ["JudgeReward", "MetricReward", "Renderer", "similarity_reward", "word_reward"]

#: Voices that are remembered: more than a round usually has prompts.
_VOICES = 64


class Renderer:
    """Speaks responses in the voices of their rows.

    The sound of the last batch is remembered, so that several rewards hear the same and pay for it
    once; so are the voices used last.

    Args:
        pipeline: its tokenizer, speaker encoder, flow decoder and vocoder are used.
        seed: of the decoder's noise, the same for every response, so that two equal responses
            sound equal.
    """

    def __init__(self, pipeline: Pipeline, *, seed: int = 0) -> None:
        self.pipeline = pipeline
        self.seed = seed
        self._voices: dict[str, tuple[VoicePrompt, Audio]] = {}
        # Answers by voice and ids, and their sound with the recording of the voice.
        self._key: list[tuple[str, list[int]]] = []
        self._sounds: list[tuple[Audio, Audio] | None] = []

    def to(self, device: torch.device) -> None:
        """Move the parts that make sound; the language model has no part in it."""
        parts = self.pipeline.parts
        for part in (parts.tokenizer, parts.speaker, parts.flow, parts.vocoder):
            if isinstance(part, nn.Module):
                part.to(device)

    @torch.no_grad()
    def __call__(
        self, prompts: Sequence[PromptRow], responses: Sequence[Tensor]
    ) -> list[Sample | None]:
        """Speak.

        Args:
            prompts: rows with ``audio``, the recording whose voice is used.
            responses: ``[R_i]`` int64 ids each; what does not fill a unit is dropped.

        Returns:
            Recordings with what is known of them; None for a response without a whole unit.

        Raises:
            AudioError: a row has no recording, or one that cannot be used.
            TokenError: a response has ids out of place.
        """
        key = [
            (row.audio, response.tolist()) for row, response in zip(prompts, responses, strict=True)
        ]
        if key != self._key:
            self._key, self._sounds = key, self._speak(prompts, responses)
        return [
            None if sound is None else _sample(str(i), row, *sound)
            for i, (row, sound) in enumerate(zip(prompts, self._sounds, strict=True))
        ]

    def _speak(
        self, prompts: Sequence[PromptRow], responses: Sequence[Tensor]
    ) -> list[tuple[Audio, Audio] | None]:
        parts = self.pipeline.parts
        spec = parts.lm.spec
        whole = [truncate_ids(response.cpu(), spec.tokens) for response in responses]
        heard = [i for i, ids in enumerate(whole) if len(ids)]
        if not heard:
            return [None] * len(prompts)
        voices = [self._voice(prompts[i]) for i in heard]
        sounds = render(
            parts.flow,
            parts.vocoder,
            [deinterleave(whole[i], spec.tokens, spec.audio_offset) for i in heard],
            [voice for voice, _ in voices],
            [self.seed] * len(heard),
            Run(),
            steps=self.pipeline.defaults.steps,
            guidance=self.pipeline.defaults.guidance,
            # Nobody but the instruments hears these.
            watermarker=None,
        )
        found = {
            i: (sound, source) for i, sound, (_, source) in zip(heard, sounds, voices, strict=True)
        }
        return [found.get(i) for i in range(len(prompts))]

    def _voice(self, row: PromptRow) -> tuple[VoicePrompt, Audio]:
        voice = self._voices.pop(row.audio, None)
        if voice is None:
            source = Audio.load(row.audio)
            voice = self.pipeline.voice_prompt(source), source
        # The one used last stands last, and the one not used for longest goes.
        self._voices[row.audio] = voice
        if len(self._voices) > _VOICES:
            del self._voices[next(iter(self._voices))]
        return voice


def _sample(name: str, row: PromptRow, sound: Audio, source: Audio) -> Sample:
    return Sample(
        name,
        sound,
        text=row.text,
        lang=row.lang,
        source=source,
        speaker=row.speaker,
        task=row.task,
        label=row.label,
    )


class MetricReward(Movable):
    """One number of a metric as a reward.

    Args:
        render: makes the sound.
        metric: measures it.
        key: which of its numbers.
        of: turns the number into a reward; None keeps it.
        missing: reward where there is no number, such as for an empty response.
    """

    def __init__(
        self,
        render: Renderer,
        metric: Metric,
        key: str,
        *,
        of: Callable[[float], float] | None = None,
        missing: float = 0.0,
    ) -> None:
        self.render, self.metric, self.key = render, metric, key
        self.of, self.missing = of, missing

    def to(self, device: torch.device) -> None:
        """Move what makes the sound; the instrument stays where it was built."""
        self.render.to(device)

    def __call__(self, prompts: Sequence[PromptRow], responses: Sequence[Tensor]) -> Tensor:
        """The number of every response."""
        samples = self.render(prompts, responses)
        measured = iter(self.metric.measure([sample for sample in samples if sample is not None]))
        numbers = [None if sample is None else next(measured)[self.key] for sample in samples]
        return torch.tensor([self._reward(number) for number in numbers])

    def _reward(self, number: float | None) -> float:
        if number is None:
            return self.missing
        return number if self.of is None else self.of(number)


class JudgeReward(Movable):
    """Probability that a judge gives to the label asked for.

    Args:
        render: makes the sound.
        judge: hears it; one that gives no scores pays 1 for the right answer.
    """

    def __init__(self, render: Renderer, judge: Judge) -> None:
        self.render, self.judge = render, judge

    def to(self, device: torch.device) -> None:
        """Move what makes the sound; the judge stays where it was built."""
        self.render.to(device)

    def __call__(self, prompts: Sequence[PromptRow], responses: Sequence[Tensor]) -> Tensor:
        """The probability for every response, 0 for an empty one."""
        samples = self.render(prompts, responses)
        heard = [sample for sample in samples if sample is not None]
        verdicts = iter(self.judge.judge(heard))
        rewards = []
        for sample in samples:
            if sample is None:
                rewards.append(0.0)
                continue
            verdict = next(verdicts)
            scores = verdict.scores or {verdict.answer: 1.0}
            rewards.append(float(scores.get(sample.label, 0.0)))
        return torch.tensor(rewards)


def word_reward(
    render: Renderer, recognizer: Recognizer | None = None, *, unit: str = "wer"
) -> MetricReward:
    """One minus the share of wrong words, not below 0.

    Args:
        render: makes the sound.
        recognizer: what listens; None is Whisper tiny.en.
        unit: ``"wer"`` for words or ``"cer"`` for characters, also right for Chinese.

    Returns:
        The reward.

    Raises:
        MissingExtraError: jiwer or the recogniser's package is not installed.
        ValueError: another unit.
    """
    if unit not in ("wer", "cer"):
        raise ValueError(f"unit {unit!r} is neither 'wer' nor 'cer'")
    return MetricReward(render, WordErrors(recognizer), unit, of=lambda rate: max(0.0, 1 - rate))


def similarity_reward(render: Renderer, embedder: VoiceEmbedder) -> MetricReward:
    """Cosine to the voice of the recording.

    Args:
        render: makes the sound.
        embedder: describes voices.

    Returns:
        The reward.
    """
    return MetricReward(render, SpeakerSimilarity(embedder), "similarity")
