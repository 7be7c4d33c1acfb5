"""A round of PPO, ours and TRL's: draw, score, and one update of policy and critic.

Both draw as many ids for the same prompts, score them with a model of the size of the policy, hold
it near a frozen copy and move a critic of its size. TRL's models are Llamas with the same tensors
(see ``alternatives``), since it trains nothing else.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alternatives import llama_of
from torch import Tensor

from stepaudio.lm.step1 import Step1LM
from stepaudio.rl.guards import GuardConfig
from stepaudio.rl.policy import LMPolicy, ValueModel
from stepaudio.rl.ppo import PPOConfig, PPOStage
from stepaudio.rl.prompt_rows import PromptRow
from stepaudio.rl.reward import TokenRewardModel
from stepaudio.training.loop import train
from stepaudio.training.metrics import read_metrics

__all__ = ["our_rounds", "their_rounds"]


def our_rounds(lm: Step1LM, prompts: Sequence[Tensor], length: int, rounds: int) -> list[float]:
    """Seconds of each round of ours.

    Args:
        lm: to start from; stays as it is.
        prompts: ``[T]`` int64 each, of one length.
        length: ids of every answer.
        rounds: how many.

    Returns:
        One number per round.
    """
    judge = TokenRewardModel.from_language_model(lm)

    def reward(rows: Sequence[PromptRow], responses: Sequence[Tensor]) -> Tensor:
        return judge.score([row.ids for row in rows], responses)

    actor = copy.deepcopy(lm).requires_grad_(True)
    with tempfile.TemporaryDirectory() as folder:
        config = PPOConfig(
            output=f"{folder}/run",
            device="cpu",
            rounds=rounds,
            prompts_per_round=len(prompts),
            minibatches=1,
            micro_batch=len(prompts),
            draw_batch=len(prompts),
            min_new_tokens=length,
            max_new_tokens=length,
            critic_steps=0,
            guards=GuardConfig(missing_end=0.0, length=0.0),
        )
        rows = [PromptRow(ids, difficulty=0.0) for ids in prompts]
        train(PPOStage(config, LMPolicy(actor, ValueModel.beside(actor)), rows, reward))
        return [row["seconds"] for row in read_metrics(Path(config.output) / "metrics.jsonl")]


def their_rounds(lm: Step1LM, prompts: Sequence[Tensor], length: int, rounds: int) -> list[float]:
    """Seconds of each round of TRL's trainer; arguments as :func:`our_rounds`.

    Raises:
        ImportError: TRL is missing, or too new to have PPO.
    """
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import (
        LlamaForSequenceClassification,
        PreTrainedTokenizerFast,
        PrinterCallback,
        TrainerCallback,
    )
    from trl.experimental.ppo import PPOConfig as TheirConfig
    from trl.experimental.ppo import PPOTrainer

    class Clock(TrainerCallback):
        """Seconds between the ends of rounds."""

        def __init__(self) -> None:
            self.marks: list[float] = []

        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            self.marks.append(time.perf_counter())

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            self.marks.append(time.perf_counter())

    def llama() -> Any:
        return llama_of(copy.deepcopy(lm), "sdpa").requires_grad_(True)

    def scorer() -> Any:
        trunk = llama()
        trunk.config.num_labels, trunk.config.pad_token_id = 1, 0
        model = LlamaForSequenceClassification(trunk.config)
        model.model = trunk.model
        return model

    # It asks for a tokenizer but reads only these two ids of it.
    words = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<unk>", eos_token="</s>", padding_side="left"
    )
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        config = TheirConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            per_device_train_batch_size=len(prompts),
            gradient_accumulation_steps=1,
            num_mini_batches=1,
            num_ppo_epochs=1,
            total_episodes=rounds * len(prompts),
            local_rollout_forward_batch_size=len(prompts),
            num_sample_generations=0,
            response_length=length,
            temperature=1.0,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        )
        trainer = PPOTrainer(
            args=config,
            processing_class=tokenizer,
            model=llama(),
            ref_model=llama(),
            reward_model=scorer(),
            value_model=scorer(),
            train_dataset=Dataset.from_dict({"input_ids": [ids.tolist() for ids in prompts]}),
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return [end - start for start, end in zip(clock.marks, clock.marks[1:], strict=False)]
