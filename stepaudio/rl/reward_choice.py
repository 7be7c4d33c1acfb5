"""Rewards that a settings file can name, in a closed list.

.. code-block:: toml

    [rewards.preference]
    kind = "reward_model"
    folder = "runs/reward/model"

    [rewards.words]
    kind = "wer"
    weight = 0.5
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from stepaudio.errors import ConfigError
from stepaudio.interfaces import Tokenizer
from stepaudio.locate import locate
from stepaudio.parts import load_part
from stepaudio.rl.content import ContentReward
from stepaudio.rl.local_edits import LocalEditReward
from stepaudio.rl.reward import TokenRewardModel
from stepaudio.rl.rewards import DurationReward, ModelReward, Reward, WeightedRewards
from stepaudio.types import LMSpec

__all__ = ["RewardChoice", "build_rewards"]

_NEED_FOLDER = ("reward_model", "judge")
_LISTENING = ("wer", "cer", "speaker", "judge")


@dataclass(frozen=True)
class RewardChoice:
    """One part of the reward.

    Attributes:
        kind: ``"reward_model"``, ``"duration"``, ``"content"`` and ``"local_edit"`` read tokens;
            ``"wer"``, ``"cer"``, ``"speaker"`` and ``"judge"`` listen. What rows must say for each
            is checked in :mod:`stepaudio.rl.row_needs`.
        weight: in the sum.
        folder: of the reward model, or of the classifier that judges.
        tolerance: of the duration, as a share.

    Raises:
        ConfigError: a folder is missing or of no use, or a number makes no sense.
    """

    kind: Literal[
        "reward_model", "duration", "content", "local_edit", "wer", "cer", "speaker", "judge"
    ]
    weight: float = 1.0
    folder: str = ""
    tolerance: float = 0.1

    @property
    def listens(self) -> bool:
        """Whether the answer must become sound."""
        return self.kind in _LISTENING

    def __post_init__(self) -> None:
        if (self.kind in _NEED_FOLDER) != bool(self.folder):
            raise ConfigError(
                f"a reward of kind {self.kind!r} needs a folder"
                if self.kind in _NEED_FOLDER
                else f"a reward of kind {self.kind!r} has no use for the folder {self.folder!r}"
            )
        if not math.isfinite(self.weight) or not self.tolerance > 0:
            raise ConfigError("weight must be finite and tolerance above 0")


def build_rewards(
    choices: Mapping[str, RewardChoice],
    spec: LMSpec,
    *,
    pipeline: str | None = None,
    device: str = "auto",
) -> WeightedRewards:
    """Load what was chosen.

    Args:
        choices: by names of one's own.
        spec: of the policy.
        pipeline: folder or hub id of the pipeline that speaks, and whose tokenizer knows how near
            linguistic codes are; None is the embedded one.
        device: where that pipeline runs until a training moves it.

    Returns:
        The weighted sum.

    Raises:
        ConfigError: nothing was chosen, or a reward model or a tokenizer of other ids.
        CheckpointError: a folder does not hold what it should.
        MissingExtraError: a reward that listens needs a package that is not installed.
    """
    if not choices:
        raise ConfigError("there is no reward; add a table such as [rewards.length]")
    listening = {name: choice for name, choice in choices.items() if choice.listens}
    built = _listen(listening, pipeline, device) if listening else {}
    built |= {
        n: _reads(choice, spec, pipeline) for n, choice in choices.items() if not choice.listens
    }
    return WeightedRewards(built, {name: choice.weight for name, choice in choices.items()})


def _reads(choice: RewardChoice, spec: LMSpec, pipeline: str | None) -> Reward:
    if choice.kind == "duration":
        return DurationReward(spec, tolerance=choice.tolerance)
    if choice.kind == "content":
        return _content(spec, pipeline)
    if choice.kind == "local_edit":
        return LocalEditReward(spec)
    model = TokenRewardModel.from_pretrained(choice.folder)
    if model.spec != spec:
        raise ConfigError(
            f"the reward model in {choice.folder} scores other ids than the language model "
            "writes; train it on the same tokens"
        )
    return ModelReward(model)


def _content(spec: LMSpec, pipeline: str | None) -> Reward:
    folder = locate(pipeline)
    tokenizer: Tokenizer = load_part(folder, "tokenizer")
    books = tokenizer.codebooks()
    if books is None or tokenizer.spec.tokens != spec.tokens:
        raise ConfigError(
            f"the tokenizer of {folder} does not write the codes of the language model; name the "
            "pipeline of the model as 'pipeline'"
        )
    return ContentReward(spec, books[0])


def _listen(
    choices: Mapping[str, RewardChoice], pipeline: str | None, device: str
) -> dict[str, Reward]:
    # Only these need the evaluation's packages and a decoder.
    from stepaudio.evaluation.classifier_judge import ClassifierJudge
    from stepaudio.evaluation.speakers import ResemblyzerVoice
    from stepaudio.hub import Pretrained
    from stepaudio.pipeline_base import Pipeline
    from stepaudio.rl.audio_rewards import JudgeReward, Renderer, similarity_reward, word_reward

    speaks = Pipeline.from_pretrained(pipeline, device=device)
    if isinstance(speaks.parts.lm, Pretrained):
        speaks.parts.lm.unload()  # it may be large, and only its spec is asked for
    render = Renderer(speaks)
    found: dict[str, Reward] = {}
    for name, choice in choices.items():
        if choice.kind == "speaker":
            found[name] = similarity_reward(render, ResemblyzerVoice())
        elif choice.kind == "judge":
            found[name] = JudgeReward(render, ClassifierJudge.from_pretrained(choice.folder))
        else:
            found[name] = word_reward(render, unit=choice.kind)
    return found
