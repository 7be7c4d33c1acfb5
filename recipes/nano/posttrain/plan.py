"""How large the experiment is: everything follows from the minutes it may take.

The sizes are for :data:`REFERENCE` minutes on two free cores; other budgets scale what takes the
time, down to the least that can be counted. They do not follow from how fast a machine is, so a run
stopped on one goes on, and is repeated, on another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from typing_extensions import Self

from stepaudio.types import SamplingParams

__all__ = ["EMOTIONS", "FAR", "REFERENCE", "STYLES", "Plan"]

#: Minutes the sizes below were chosen for.
REFERENCE = 40.0

#: Emotions that were both taught by rule and rated by the listeners of the margin scorer.
EMOTIONS = ("happy", "sad", "angry", "fear")
#: Styles that can be judged by rule.
STYLES = ("whisper", "child", "older", "exaggerated")
#: Far edits: what the recording already is, and what is asked for.
FAR = (
    ("emotion:happy", "emotion", "sad"),
    ("emotion:sad", "emotion", "happy"),
    ("emotion:angry", "style", "whisper"),
)

_LEAST = {
    "pairs": 16, "prompts": 12, "preferences": 24, "held_out": 8, "ppo_rounds": 3,
    "grpo_rounds": 2, "clips": 1, "margin_clips": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Sizes of everything; rates are those of a model of 4 million parameters.

    Attributes:
        seeds: repetitions of every arm of the margin experiment.
        pairs: of each of its two sets.
        longest: units of 0.12 s of the longest recording learned from.
        sft_rate: highest learning rate of fine-tuning.
        prompts: to rate answers for, and to learn from.
        draws: answers of the model to start from, per prompt.
        margin: ratings of a preference differ by more than this.
        preferences: pairs of answers.
        reward_rate: highest learning rate of the reward model.
        dpo_rate: highest learning rate of DPO.
        online_rate: highest learning rate of PPO and GRPO.
        critic_rate: of PPO's critic.
        ppo_rounds: of which the first sixth only warms the critic up.
        ppo_prompts: answered in a round.
        grpo_rounds: of drawing and learning.
        groups: prompts in a round of GRPO.
        group: answers to each of them.
        answer_tokens: at most, in every draw.
        held_out: prompts of speakers and texts kept from all of these trainings.
        clips: recordings of each label that every policy edits three times.
        margin_clips: recordings of each emotion that every arm of the margin experiment edits once.
    """

    seeds: int = 3
    pairs: int = 300
    longest: int = 36
    sft_rate: float = 3e-4
    prompts: int = 160
    draws: int = 2
    margin: float = 4.0
    preferences: int = 400
    reward_rate: float = 3e-4
    dpo_rate: float = 3e-5
    online_rate: float = 1e-4
    critic_rate: float = 3e-4
    ppo_rounds: int = 30
    ppo_prompts: int = 32
    grpo_rounds: int = 18
    groups: int = 8
    group: int = 8
    answer_tokens: int = 320
    held_out: int = 64
    clips: int = 2
    margin_clips: int = 3

    @property
    def sampling(self) -> SamplingParams:
        """As in the rollouts, so that the reward model hears what the policy will say."""
        return SamplingParams(temperature=1.0, min_new_tokens=5, max_new_tokens=self.answer_tokens)

    @classmethod
    def for_minutes(cls, minutes: float, **changes: Any) -> Self:
        """What fits.

        Args:
            minutes: on two free cores.
            **changes: of single sizes, after scaling.

        Returns:
            The plan.

        Raises:
            ValueError: no time at all.
        """
        if minutes <= 0:
            raise ValueError(f"minutes is {minutes} but must be above 0")
        full = cls()
        sizes = {
            name: max(least, round(getattr(full, name) * minutes / REFERENCE))
            for name, least in _LEAST.items()
        }
        return replace(full, **{**sizes, **changes})
