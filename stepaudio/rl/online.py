"""What PPO and GRPO share: rounds of drawing, scoring and a few optimizer steps.

A round takes the next prompts, hardest first, draws responses with the policy as it is, asks the
reward, subtracts what the guards cost and splits the responses into minibatches, one per optimizer
step. Processes share the drawing and the scoring; the minibatches are the same for any number.
"""

from __future__ import annotations

import hashlib
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from stepaudio.errors import ConfigError, DataError
from stepaudio.rl.actions import ActionBatch
from stepaudio.rl.guards import GuardConfig, guard_penalties, length_ratios
from stepaudio.rl.measures import measure_round
from stepaudio.rl.policy import LMPolicy
from stepaudio.rl.prompt_rows import PromptRow, hardest_first
from stepaudio.rl.reward_choice import RewardChoice
from stepaudio.rl.rewards import Movable, Reward, ask
from stepaudio.rl.rollout import Drawn, roll_out
from stepaudio.safety.weights import sampled_digest
from stepaudio.seeds import derive_seed, seeded
from stepaudio.training.config import TrainingConfig, require_not_negative
from stepaudio.training.schedule import cosine_rate
from stepaudio.training.stage import Mean, Stage
from stepaudio.types import SamplingParams

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Experience", "OnlineConfig", "OnlineStage"]

#: Parts of a micro-batch that every method has.
_ACTIONS = ("ids", "starts", "actions", "mask")
_ACTOR, _MEASURED = "actor.", "measured."
#: A deviation of scores below this is no scale to divide by.
_EQUAL = 1e-6


@dataclass(frozen=True, kw_only=True)
class OnlineConfig(TrainingConfig):
    """Settings of a training that learns from its own responses.

    The paper names the rates, the clip, the KL coefficient and the warm-up of the critic; numbers
    of prompts, rounds and steps are not stated and chosen here.

    Attributes:
        data: JSONL file of prompts; see :mod:`stepaudio.rl.prompt_rows`.
        model: the language model to start from: its folder, the folder or hub id of a pipeline,
            or none for the embedded model.
        rewards: by names of one's own; see :mod:`stepaudio.rl.reward_choice`.
        pipeline: folder or hub id of the pipeline that speaks answers for rewards that listen, and
            whose codebook ``"content"`` reads; none is the embedded one.
        rounds: of drawing and learning.
        prompts_per_round: different prompts in a round.
        group_size: responses to each prompt.
        passes: times the responses of a round are learned from.
        minibatches: optimizer steps in a pass.
        micro_batch: responses in one forward and backward pass.
        draw_batch: responses drawn at once.
        hardest: share of the prompts to use, the hardest for the model to start from.
        difficulty_draws: responses by which the difficulty of a prompt is measured where its row
            does not say it.
        temperature: of the draw.
        min_new_tokens: the end is forbidden before; an empty answer cannot be heard.
        max_new_tokens: hard limit of an answer.
        clip: how far the probability of an action may move within a round, as a ratio.
        kl_beta: price of one nat of divergence from the reference.
        normalize_scores: shift and scale scores by mean and deviation of the first round, drawn
            before the policy has moved, so that ``kl_beta`` and the guards mean the same for any
            reward.
        guards: what absurd answers cost, in units of the score so scaled.

    Raises:
        ConfigError: a number outside its range.
    """

    learning_rate: float = 1e-6
    final_learning_rate: float = 2e-7
    data: str = ""
    model: str | None = None
    rewards: dict[str, RewardChoice] = field(default_factory=dict)
    pipeline: str | None = None
    rounds: int = 100
    prompts_per_round: int = 32
    group_size: int = 1
    passes: int = 1
    minibatches: int = 4
    micro_batch: int = 8
    draw_batch: int = 32
    hardest: float = 1.0
    difficulty_draws: int = 1
    temperature: float = 1.0
    min_new_tokens: int = 5
    max_new_tokens: int = 1024
    clip: float = 0.2
    kl_beta: float = 0.05
    normalize_scores: bool = True
    guards: GuardConfig = field(default_factory=GuardConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_positive(
            "rounds", "prompts_per_round", "group_size", "passes", "minibatches", "micro_batch",
            "draw_batch", "hardest", "difficulty_draws", "temperature", "max_new_tokens", "clip",
        )  # fmt: skip
        require_not_negative(self, "kl_beta", "min_new_tokens")
        if self.hardest > 1 or self.clip >= 1:
            raise ConfigError("hardest must be at most 1 and clip below 1")
        if self.minibatches > self.prompts_per_round * self.group_size:
            raise ConfigError(
                f"minibatches is {self.minibatches} but a round has only "
                f"{self.prompts_per_round * self.group_size} responses"
            )

    @property
    def sampling(self) -> SamplingParams:
        """How responses are drawn, with the grammar, and whose probabilities are learned."""
        return SamplingParams(
            temperature=self.temperature,
            min_new_tokens=self.min_new_tokens,
            max_new_tokens=self.max_new_tokens,
        )


@dataclass(frozen=True)
class Experience:
    """A round before it is learned from; padded, zero outside the mask.

    Attributes:
        batch: the responses as actions.
        scores: ``[B]`` of the reward, scaled, less what the guards cost.
        log_probs: ``[B, A]`` under the policy that drew them.
        reference: ``[B, A]`` under the reference.
        values: ``[B, A]`` of the critic; zeros without one.
    """

    batch: ActionBatch
    scores: Tensor
    log_probs: Tensor
    reference: Tensor
    values: Tensor


@dataclass(frozen=True)
class _Scored:
    """A response with its reward, and that by parts."""

    drawn: Drawn
    score: float
    parts: Mapping[str, float]


class OnlineStage(Stage[dict[str, Tensor]]):
    """Draws, scores, and hands out minibatches; subclasses say what is learned from them.

    Args:
        config: how to train.
        policy: what is trained; its reference is the model to start from.
        rows: prompts with what the reward must know of them.
        reward: says how good responses are; each must be judged by itself, for a process judges
            only its share. A :class:`~stepaudio.rl.rewards.Movable` one is moved to its device.

    Raises:
        DataError: no prompts.
    """

    config: OnlineConfig
    model: LMPolicy

    def __init__(
        self,
        config: OnlineConfig,
        policy: LMPolicy,
        rows: Sequence[PromptRow],
        reward: Reward,
    ) -> None:
        if not rows:
            raise DataError("there are no prompts to learn from")
        self.config = config
        self.model = policy
        self.rows = list(rows)
        self.reward = reward
        self._rank, self._processes = 0, 1
        self._autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
        self._difficulties: list[float] | None = None
        self._round = -1
        self._learned: dict[str, Tensor] = {}
        self._measured: dict[str, float] = {}
        self._seconds = {"draw_seconds": 0.0, "reward_seconds": 0.0}
        # Mean and deviation of the first round's scores.
        self._scale: tuple[float, float] | None = None

    @abstractmethod
    def learn(self, experience: Experience) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Turn a round into what :meth:`losses` needs.

        Args:
            experience: the round.

        Returns:
            ``[B, A]`` tensors by name, handed out in micro-batches beside the actions, and numbers
            for the log.
        """

    @abstractmethod
    def terms(
        self, model: nn.Module, actions: ActionBatch, batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """What one micro-batch costs, per action.

        Args:
            model: the policy as prepared for this machine; call it, not its parts.
            actions: of the micro-batch.
            batch: the tensors of :meth:`learn`, cut to the micro-batch.

        Returns:
            ``[B, A]`` by name; ``"loss"`` is minimised, the others are logged.
        """

    def shares(self, mask: Tensor) -> tuple[Tensor, float]:
        """How much every action counts in the means of a step; all the same by default.

        Args:
            mask: ``[B, A]`` bool, of a micro-batch.

        Returns:
            ``[B, A]``, 0 outside the mask, and their sum without what rounding makes of it.
        """
        return mask.float(), float(mask.sum())

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.config.rounds * self.steps_per_round

    @property
    def steps_per_round(self) -> int:
        """Optimizer steps between two draws."""
        return self.config.passes * self.config.minibatches

    def fingerprint(self) -> dict[str, str]:
        """Digests of the prompts and of the model to start from, which the reference stays."""
        # Where the recordings lie may differ from machine to machine.
        rows = [
            {**vars(row), "ids": row.ids.tolist(), "audio": Path(row.audio).name}
            for row in self.rows
        ]
        data = hashlib.sha256(repr(rows).encode()).hexdigest()[:32]
        return {"data": data, "model": sampled_digest(self.model.reference)}

    def start(self, accelerator: Accelerator, model: nn.Module) -> None:
        """Learn where the model is and which share of the draws is this process's."""
        self._rank, self._processes = accelerator.process_index, accelerator.num_processes
        self._autocast = accelerator.autocast
        self.model.reference.to(accelerator.device)
        if isinstance(self.reward, Movable):
            self.reward.to(accelerator.device)

    def batches(self, step: int) -> list[dict[str, Tensor]]:
        """Micro-batches of a step; the first step of a round draws."""
        config = self.config
        number, inner = divmod(step, self.steps_per_round)
        if number != self._round:
            self._draw_round(number)
        turn, part = divmod(inner, config.minibatches)
        total = len(self._learned["mask"])
        order = torch.randperm(total, generator=seeded(config.seed, f"order {number} {turn}"))
        chosen = order.tensor_split(config.minibatches)[part]
        return [self._piece(rows) for rows in torch.split(chosen, config.micro_batch)]

    def losses(self, model: nn.Module, batch: dict[str, Tensor]) -> Mapping[str, Mean]:
        """Means over the actions of a micro-batch, and the numbers of its round."""
        actions = ActionBatch(*(batch[name] for name in _ACTIONS))
        terms = self.terms(model, actions, batch)
        mask, (shares, weight) = actions.mask, self.shares(actions.mask)
        means = {n: Mean(torch.where(mask, t * shares, 0).sum(), weight) for n, t in terms.items()}
        device = mask.device
        for name, value in self._measured.items():
            means[name] = Mean(torch.tensor(value, device=device), 1.0)
        return means

    def export(self, weights: dict[str, Tensor], folder: Path) -> None:
        """Write the actor, for :meth:`stepaudio.lm.step1.Step1LM.from_pretrained`."""
        own = {n.removeprefix(_ACTOR): w for n, w in weights.items() if n.startswith(_ACTOR)}
        self.model.actor.save_pretrained(folder, weights=own)

    def state(self) -> dict[str, Tensor]:
        """The round in progress."""
        numbers = {
            f"{_MEASURED}{n}": torch.tensor(v, dtype=torch.float64)
            for n, v in self._measured.items()
        }
        return {
            **self._learned,
            **numbers,
            "round": torch.tensor(self._round),
            "difficulties": torch.tensor(self._difficulties, dtype=torch.float64),
            "scale": torch.tensor(self._scale, dtype=torch.float64),
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on within the round in progress."""
        state = dict(state)
        self._round = int(state.pop("round"))
        self._difficulties = state.pop("difficulties").tolist()
        mean, deviation = state.pop("scale").tolist()
        self._scale = mean, deviation
        self._measured = {
            name[len(_MEASURED) :]: float(state.pop(name))
            for name in list(state)
            if name.startswith(_MEASURED)
        }
        self._learned = state

    def rate(self, step: int) -> float:
        """Learning rate of the actor."""
        config = self.config
        return cosine_rate(
            step,
            total=self.steps,
            start=config.learning_rate,
            end=config.final_learning_rate,
            warmup=config.warmup_steps,
        )

    def _piece(self, rows: Tensor) -> dict[str, Tensor]:
        """A micro-batch, without the padding that only other responses needed."""
        batch = ActionBatch(*(self._learned[name] for name in _ACTIONS)).select(rows)
        width = batch.mask.shape[1]
        rest = {n: t[rows, :width] for n, t in self._learned.items() if n not in _ACTIONS}
        return {**{name: getattr(batch, name) for name in _ACTIONS}, **rest}

    def _draw_round(self, number: int) -> None:
        config, order = self.config, self._order()
        first = number * config.prompts_per_round
        numbers = [
            order[(first + i) % len(order)]
            for i in range(config.prompts_per_round)
            for _ in range(config.group_size)
        ]
        rows = [self.rows[i] for i in numbers]
        seeds = [derive_seed(config.seed, f"round {number} {i}") for i in range(len(rows))]
        scored = self._respond(self.model, numbers, seeds)
        drawn = [one.drawn for one in scored]
        ended = torch.tensor([one.ended for one in drawn])
        responses = [one.response for one in drawn]
        ratios = length_ratios([row.ids for row in rows], responses, self.model.spec)
        penalties = guard_penalties(ratios, ended, config.guards)
        raw = torch.tensor([one.score for one in scored])
        batch = ActionBatch.of(
            [row.ids for row in rows], responses, ended.tolist(), self.model.spec
        )
        experience = Experience(
            batch,
            self._scaled(raw) - penalties,
            *(
                pad_sequence([getattr(one, name) for one in drawn], batch_first=True)
                for name in ("log_probs", "reference", "values")
            ),
        )
        tensors, numbers_of_method = self.learn(experience)
        self._learned = {name: getattr(batch, name) for name in _ACTIONS} | tensors
        names = scored[0].parts
        self._measured = {
            "score": float(raw.mean()),
            **{f"reward_{n}": sum(one.parts[n] for one in scored) / len(scored) for n in names},
            "penalty": float(penalties.mean()),
            **measure_round(drawn, self.model.spec),
            **numbers_of_method,
            **self._seconds,
        }
        self._round = number

    def _scaled(self, scores: Tensor) -> Tensor:
        if self._scale is None:
            self._scale = (0.0, 1.0)
            if self.config.normalize_scores:
                deviation = float(scores.std(correction=0))
                self._scale = float(scores.mean()), deviation if deviation > _EQUAL else 1.0
        return (scores - self._scale[0]) / self._scale[1]

    def _order(self) -> list[int]:
        """Numbers of the prompts, hardest first."""
        if self._difficulties is None:
            self._difficulties = self._measure_difficulties()
        return hardest_first(self._difficulties, share=self.config.hardest)

    def _measure_difficulties(self) -> list[float]:
        """What the rows say; where they do not, minus the mean score of the reference."""
        known = [row.difficulty for row in self.rows]
        unknown = [i for i, difficulty in enumerate(known) if difficulty is None]
        draws = self.config.difficulty_draws
        chosen = [i for i in unknown for _ in range(draws)]
        seeds = [derive_seed(self.config.seed, f"difficulty {i}") for i in range(len(chosen))]
        before = LMPolicy(self.model.reference, reference=self.model.reference)
        scored = self._respond(before, chosen, seeds)
        sums = dict.fromkeys(unknown, 0.0)
        for i, one in zip(chosen, scored, strict=True):
            sums[i] -= one.score / draws
        return [sums[i] if one is None else one for i, one in enumerate(known)]

    def _respond(
        self, policy: LMPolicy, numbers: Sequence[int], seeds: Sequence[int]
    ) -> list[_Scored]:
        """Draw and score answers to rows; every process does its share and gets all."""
        config = self.config
        mine = slice(self._rank, None, self._processes)
        share = [self.rows[i] for i in numbers[mine]]
        found: list[_Scored] = []
        began = time.perf_counter()
        if share:
            with self._autocast():
                drawn = roll_out(
                    policy,
                    [row.ids for row in share],
                    config.sampling,
                    seeds=seeds[mine],
                    draw_batch=config.draw_batch,
                    score_batch=config.micro_batch,
                )
            between = time.perf_counter()
            with torch.no_grad():
                places = [f"row {i + 1} of {config.data or 'the prompts'}" for i in numbers[mine]]
                responses = [one.response for one in drawn]
                scores, parts = ask(self.reward, share, responses, places)
            self._seconds = {
                "draw_seconds": between - began,
                "reward_seconds": time.perf_counter() - between,
            }
            found = [
                _Scored(one, float(scores[i]), {n: float(part[i]) for n, part in parts.items()})
                for i, one in enumerate(drawn)
            ]
        if self._processes == 1:
            return found
        everyone: list[Any] = [None] * self._processes
        torch.distributed.all_gather_object(everyone, found)
        return [everyone[i % self._processes][i // self._processes] for i in range(len(numbers))]
