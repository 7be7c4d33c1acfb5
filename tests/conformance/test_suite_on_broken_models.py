"""The conformance suite refuses each way of breaking a language model, reward model or policy."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from fakes import END, LM, FakeLM, FakePolicy, FakeRewardModel
from torch import Tensor

from stepaudio import testing
from stepaudio.testing import ConformanceError
from stepaudio.types import LMSpec, SamplingParams, TokenStep


class AudioBeyondVocabulary(FakeLM):
    @property
    def spec(self) -> LMSpec:
        return dataclasses.replace(LM, audio_offset=20)


class EndIsAudio(FakeLM):
    @property
    def spec(self) -> LMSpec:
        return dataclasses.replace(LM, end_ids=(15,))


class WrongWidth(FakeLM):
    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids)[..., :-1]


class LooksAhead(FakeLM):
    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) + self.embed[ids].sum((1, 2))[:, None, None]


class SeesTheBatch(FakeLM):
    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) * ids.shape[0]


class NotANumber(FakeLM):
    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids) * float("nan")


class ChangesSteps(FakeLM):
    def change(self, number: int, step: TokenStep) -> TokenStep | None:
        raise AssertionError

    def generate(self, *args: Any, **kwargs: Any) -> Iterator[TokenStep]:
        for number, step in enumerate(super().generate(*args, **kwargs)):
            changed = self.change(number, step)
            if changed is not None:
                yield changed


class EmitsTheEnd(ChangesSteps):
    def change(self, number: int, step: TokenStep) -> TokenStep:
        return dataclasses.replace(step, ids=torch.where(step.active, END, step.ids))


class WakesUp(ChangesSteps):
    def draw(self, ids: Tensor, position: int, *args: Any) -> int:
        return END if position == 5 else super().draw(ids, position, *args)

    def change(self, number: int, step: TokenStep) -> TokenStep:
        return dataclasses.replace(step, active=torch.ones_like(step.active))


class NeverSaysWhy(ChangesSteps):
    def change(self, number: int, step: TokenStep) -> TokenStep:
        return dataclasses.replace(step, stop_reasons=("running",) * len(step.stop_reasons))


class BreaksThePattern(FakeLM):
    def allowed(self, position: int, sampling: Any) -> Tensor:
        return super().allowed(position + 2, sampling)


class EndsWithinAUnit(FakeLM):
    def draw(self, ids: Tensor, position: int, *args: Any) -> int:
        return END if position == 3 else super().draw(ids, position, *args)


class IgnoresTheLimit(FakeLM):
    def generate(self, prompts: Any, sampling: Any, **kwargs: Any) -> Iterator[TokenStep]:
        more = dataclasses.replace(sampling, max_new_tokens=40)
        return super().generate(prompts, more, **kwargs)


class StopsEarly(FakeLM):
    def generate(self, prompts: Any, sampling: Any, **kwargs: Any) -> Iterator[TokenStep]:
        less = dataclasses.replace(sampling, max_new_tokens=sampling.max_new_tokens - 1)
        return super().generate(prompts, less, **kwargs)


class IgnoresTheMinimum(FakeLM):
    def draw(self, ids: Tensor, position: int, sampling: Any, rng: Any) -> int:
        if position == 10:
            return END
        return super().draw(ids, position, sampling, rng)


class IgnoresGenerators(FakeLM):
    def draw(self, ids: Tensor, position: int, sampling: Any, rng: Any) -> int:
        return super().draw(ids, position, sampling, None)


class SharesAGenerator(FakeLM):
    def generate(
        self, prompts: Any, sampling: Any, *, generators: Any = None, **kwargs: Any
    ) -> Iterator[TokenStep]:
        shared = generators and [generators[0]] * len(prompts)
        return super().generate(prompts, sampling, generators=shared, **kwargs)


class IgnoresCancel(FakeLM):
    def generate(self, *args: Any, cancel: Any = None, **kwargs: Any) -> Iterator[TokenStep]:
        return super().generate(*args, **kwargs)


class AcceptsAnyPrompt(FakeLM):
    def generate(self, prompts: Any, sampling: Any, **kwargs: Any) -> Iterator[TokenStep]:
        one = torch.ones(1, dtype=torch.int64)
        prompts = [p[:50] if len(p) else one for p in prompts]
        return super().generate(prompts, sampling, **kwargs)


class CrashesOnEmptyPrompts(FakeLM):
    def generate(self, prompts: Any, sampling: Any, **kwargs: Any) -> Iterator[TokenStep]:
        for prompt in prompts:
            prompt[0]
        return super().generate(prompts, sampling, **kwargs)


class HalfPrecision(FakeLM):
    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids).bfloat16()


class DeafToItsPrompt(FakeLM):
    def generate(self, prompts: Any, sampling: Any, **kwargs: Any) -> Iterator[TokenStep]:
        return super().generate([torch.tensor([5, 6, 7])] * len(prompts), sampling, **kwargs)


class DrawsAnything(FakeLM):
    def draw(self, ids: Tensor, position: int, sampling: Any, rng: Any) -> int:
        weights = self.allowed(position, sampling).float()
        greedy = not sampling.temperature
        return int(weights.argmax() if greedy else torch.multinomial(weights, 1, generator=rng))


class NeverEnds(FakeLM):
    def forward(self, ids: Tensor) -> Tensor:
        logits = super().forward(ids)
        logits[..., END] += 100
        return logits

    def allowed(self, position: int, sampling: Any) -> Tensor:
        mask = super().allowed(position, sampling)
        mask[END] = False
        return mask


class ChangesSampling(FakeLM):
    def change(self, sampling: SamplingParams) -> SamplingParams:
        raise AssertionError

    def generate(self, prompts: Any, sampling: Any, **kwargs: Any) -> Iterator[TokenStep]:
        if sampling.temperature:
            sampling = self.change(sampling)
        return super().generate(prompts, sampling, **kwargs)


class AlwaysCold(ChangesSampling):
    def change(self, sampling: SamplingParams) -> SamplingParams:
        return dataclasses.replace(sampling, temperature=0.01)


class AlwaysLukewarm(ChangesSampling):
    def change(self, sampling: SamplingParams) -> SamplingParams:
        return dataclasses.replace(sampling, temperature=1.0)


class IgnoresTopK(ChangesSampling):
    def change(self, sampling: SamplingParams) -> SamplingParams:
        return dataclasses.replace(sampling, top_k=0)


class PretendsToBeGuided(FakeLM):
    can_be_guided = True

    def generate(self, *args: Any, contrasts: Any = None, **kwargs: Any) -> Iterator[TokenStep]:
        return super().generate(*args, **kwargs)


class GuidesEverybody(PretendsToBeGuided):
    def generate(self, prompts: Any, *args: Any, **kwargs: Any) -> Iterator[TokenStep]:
        if kwargs.get("contrasts"):
            prompts = [prompt.flip(0)[1:] for prompt in prompts]
        return super().generate(prompts, *args, **kwargs)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (AudioBeyondVocabulary, "do not fit a vocabulary of 40"),
        (EndIsAudio, "end id 15"),
        (WrongWidth, "must give logits of shape"),
        (LooksAhead, "ids that come later"),
        (SeesTheBatch, "change with the batch"),
        (NotANumber, "finite"),
        (EmitsTheEnd, "end id 1 was emitted"),
        (WakesUp, "a sample stopped by 'end' received a token"),
        (NeverSaysWhy, "must say why it stopped"),
        (BreaksThePattern, "constrained generation put audio id"),
        (EndsWithinAUnit, "within a unit"),
        (IgnoresTheLimit, "goes on after max_new_tokens"),
        (StopsEarly, "neither ended nor at the limit"),
        (IgnoresTheMinimum, "min_new_tokens is 15"),
        (IgnoresGenerators, "same ids for the same generator state"),
        (SharesAGenerator, "drawn generation of prompt 0 differs"),
        (IgnoresCancel, "cancelling after two steps"),
        (AcceptsAnyPrompt, "empty prompt must be refused with PromptError, but it was accepted"),
        (CrashesOnEmptyPrompts, "but it raised IndexError"),
        (HalfPrecision, "logits are torch.bfloat16, but the checks want a model in float32"),
        (DeafToItsPrompt, "greedy generation must write what forward finds likeliest"),
        (DrawsAnything, "greedy generation must write what forward finds likeliest"),
        (NeverEnds, r"likeliest .* at position 5 is"),
        (AlwaysCold, "drawn at temperature 0.01 must be likelier"),
        (AlwaysLukewarm, "drawn at temperature 0.01 must be likelier"),
        (IgnoresTopK, "top_k=1 must write the ids of greedy generation"),
        (PretendsToBeGuided, "a contrast of weight 100 changes nothing"),
        (GuidesEverybody, "a sample without contrasts must not change"),
    ],
)
def test_broken_language_models_are_refused(broken: type, says: str) -> None:
    with pytest.raises(ConformanceError, match=says):
        testing.check_speech_lm(broken())


class ChangesScores(FakeRewardModel):
    def change(self, scores: Tensor) -> Tensor:
        raise AssertionError

    def score(self, prompts: Any, responses: Any) -> Tensor:
        return self.change(super().score(prompts, responses))


class OneScoreForAll(ChangesScores):
    def change(self, scores: Tensor) -> Tensor:
        return scores.mean()


class CentresTheBatch(ChangesScores):
    def change(self, scores: Tensor) -> Tensor:
        return scores - scores.mean()


class Moody(ChangesScores):
    def change(self, scores: Tensor) -> Tensor:
        return scores + torch.rand(())


class Infinite(ChangesScores):
    def change(self, scores: Tensor) -> Tensor:
        return scores / 0


class ScoresTheFirst(FakeRewardModel):
    def score(self, prompts: Any, responses: Any) -> Tensor:
        return super().score(prompts[: len(responses)], responses)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (OneScoreForAll, "floats of shape"),
        (CentresTheBatch, "another score alone"),
        (Moody, "twice must give the same"),
        (Infinite, "finite"),
        (ScoresTheFirst, "three prompts with one response"),
    ],
)
def test_broken_reward_models_are_refused(broken: type, says: str) -> None:
    with pytest.raises(ConformanceError, match=says):
        testing.check_reward_model(broken())


class SelfReferential(FakePolicy):
    @property
    def reference(self) -> FakeLM:
        return self.lm


class ThawedReference(FakePolicy):
    def __init__(self) -> None:
        super().__init__()
        self.reference.requires_grad_(True)


class OtherReference(FakePolicy):
    @property
    def reference(self) -> FakeLM:
        return AudioBeyondVocabulary().requires_grad_(False)


class UnseededSamples(FakePolicy):
    def sample(self, prompts: Any, sampling: Any, *, generators: Any = None) -> list[Tensor]:
        return super().sample(prompts, sampling)


class SharedSamples(FakePolicy):
    def sample(self, prompts: Any, sampling: Any, *, generators: Any = None) -> list[Tensor]:
        return super().sample(prompts, sampling, generators=[generators[0]] * len(prompts))


class HotLogProbs(FakePolicy):
    def log_probs(self, prompts: Any, responses: Any) -> list[Tensor]:
        return [row * 0.7 for row in super().log_probs(prompts, responses)]


class ReferenceLogProbs(FakePolicy):
    def log_probs(self, prompts: Any, responses: Any) -> list[Tensor]:
        return [row.detach() for row in super().log_probs(prompts, responses)]


class NoFinalValue(FakePolicy):
    def values(self, prompts: Any, responses: Any) -> list[Tensor]:
        return [row[:-1] for row in super().values(prompts, responses)]


class WhitenedValues(FakePolicy):
    def values(self, prompts: Any, responses: Any) -> list[Tensor]:
        rows = super().values(prompts, responses)
        return [row - torch.cat(rows).mean() for row in rows]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (SelfReferential, "must not be the model that moves"),
        (ThawedReference, "must be frozen"),
        (OtherReference, "must have one spec"),
        (UnseededSamples, "same ids for the same generator state"),
        (SharedSamples, "must not depend on the batch"),
        (HotLogProbs, "at temperature 1"),
        (ReferenceLogProbs, "log_probs must carry a gradient"),
        (NoFinalValue, "must have 6 entries"),
        (WhitenedValues, "values of pair 0 differ"),
    ],
)
def test_broken_policies_are_refused(broken: type, says: str) -> None:
    with pytest.raises(ConformanceError, match=says):
        testing.check_policy(broken())
