"""This library beside what a user would run instead: same shapes, same weights, in one run.

    python benchmarks/compare.py [--sizes nano release] [--repeats N] [-o FILE.json]

Random weights, made in memory; both sides take turns, and the median of the repeats counts, the
first left out. Prints a table and writes, for every row, the seconds of ours and theirs and how
many times faster ours is, with the machine, the versions, the threads and the seed. Before a row is
measured, both sides are made to give the same result where they compute the same thing.

``release`` is the published model in bfloat16 and needs 9 GB; ``small`` is a model between both, in
float32 and in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from alternatives import FullBiasDecoder, activate_plainly, llama_of, tokenize_by_chunks
from machine import describe, load
from ppo_step import our_rounds, their_rounds
from torch import Tensor, nn

from stepaudio.decoder.snake import AntiAliased, SnakeBeta
from stepaudio.lm.cache import KVCache
from stepaudio.lm.step1 import Step1Config, Step1LM, init_weights
from stepaudio.tokenizers.linguistic import LinguisticConfig, LinguisticTokenizer
from stepaudio.types import SamplingParams

SEED = 0


@dataclass(frozen=True)
class Size:
    """Shapes of one set of rows.

    Attributes:
        lm: language model.
        dtype: of the language model.
        prompt: ids before what is decoded.
        tokens: ids decoded.
        contexts: ids behind a token whose cost is taken.
        linguistic: tokenizer.
        seconds: of sound tokenized.
        activation: batch, channels and samples of an activation.
    """

    lm: Step1Config
    dtype: torch.dtype
    prompt: int
    tokens: int
    contexts: tuple[int, ...]
    linguistic: LinguisticConfig
    seconds: float
    activation: tuple[int, int, int]


SIZES = {
    "debug": Size(
        Step1Config.debug(), torch.float32, 12, 6, (20, 40), LinguisticConfig.debug(), 0.7,
        (2, 3, 50),
    ),
    "nano": Size(
        Step1Config.nano(), torch.float32, 200, 100, (500, 2000), LinguisticConfig.nano(), 10.0,
        (1, 64, 24000),
    ),
    "small": Size(
        replace(
            Step1Config.nano(),
            hidden_size=768,
            intermediate_size=2048,
            num_hidden_layers=12,
            num_attention_heads=12,
            num_attention_groups=4,
        ),
        torch.float32, 200, 50, (500, 2000), LinguisticConfig.nano(), 10.0, (1, 64, 24000),
    ),
    "release": Size(
        Step1Config.release(), torch.bfloat16, 64, 8, (500, 2000), LinguisticConfig.release(), 10.0,
        (1, 192, 24000),
    ),
}  # fmt: skip
SIZES["small-bfloat16"] = replace(SIZES["small"], dtype=torch.bfloat16)


def timed(work: Callable[[], Any]) -> Callable[[], tuple[float]]:
    """Seconds that a piece of work takes."""

    def run() -> tuple[float]:
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start,)

    return run


def both(
    ours: Callable[[], tuple[float, ...]], theirs: Callable[[], tuple[float, ...]], repeats: int
) -> list[tuple[float, float]]:
    """Medians of what both report, pair by pair; they take turns, so a busy moment hits both."""
    ran = [(ours(), theirs()) for _ in range(repeats + 1)][1:]
    sides = [
        [statistics.median(n) for n in zip(*side, strict=True)] for side in zip(*ran, strict=True)
    ]
    return list(zip(*sides, strict=True))


def row(name: str, unit: str, ours: float, theirs: float) -> dict[str, Any]:
    """One line of the table; ``ratio`` is how many times faster ours is."""
    return {
        "row": name,
        "unit": unit,
        "ours": round(ours, 6),
        "theirs": round(theirs, 6),
        "ratio": round(theirs / ours, 3),
    }


def language_model(size: Size) -> Step1LM:
    """Random weights in the type wanted, without having been in another."""
    torch.manual_seed(SEED)
    with torch.device("meta"):
        lm = Step1LM(size.lm).to(size.dtype)
    lm = lm.to_empty(device="cpu").requires_grad_(False).eval()
    init_weights(lm, size.lm)
    for name, value in lm.named_parameters():
        if name.endswith("norm.weight"):
            nn.init.ones_(value)
    return lm


def check_same(ours: Tensor, theirs: Tensor, what: str) -> None:
    """Refuse to compare the time of two different results."""
    tolerance = 1e-4 if ours.dtype == torch.float32 else 0.1
    if not torch.allclose(ours, theirs, atol=tolerance, rtol=tolerance):
        worst = float((ours.float() - theirs.float()).abs().max())
        raise SystemExit(f"{what}: both sides differ by {worst:.3g}; nothing was measured")


class Marks:
    """When the ids of a ``generate`` of transformers came; its first call brings the prompt."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, ids: Tensor) -> None:
        """Called with the ids of a step."""
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Called after the last one."""


def first_and_later(times: list[float]) -> tuple[float, float]:
    """Seconds from the start to the first id, and per id after it."""
    return times[1] - times[0], (times[-1] - times[1]) / (len(times) - 2)


def decoding(lm: Step1LM, size: Size, repeats: int) -> Iterator[dict[str, Any]]:
    """Seconds to the first id and per id after it, against ``generate`` of transformers."""
    prompt = torch.arange(size.prompt) % lm.config.audio_offset
    greedy = SamplingParams(
        temperature=0.0,
        constrain=False,
        max_new_tokens=size.tokens,
        min_new_tokens=size.tokens,
    )

    def ours() -> tuple[float, float]:
        times = [time.perf_counter()]
        for _ in lm.generate([prompt], greedy):
            times.append(time.perf_counter())
        return first_and_later(times)

    for attention in ("eager", "sdpa"):
        llama = llama_of(lm, attention)
        first = prompt[None, :1]
        check_same(lm(first), llama(first).logits, f"first position, {attention}")

        def theirs(model: Any = llama) -> tuple[float, float]:
            marks = Marks()
            model.generate(
                prompt[None],
                attention_mask=torch.ones_like(prompt[None]),
                max_new_tokens=size.tokens,
                do_sample=False,
                pad_token_id=0,
                streamer=marks,
            )
            assert len(marks.times) == size.tokens + 1
            return first_and_later(marks.times)

        prefill, decode = both(ours, theirs, repeats)
        name = f"Hugging Face generate, {attention}"
        yield row(f"{name}: decode after {size.prompt} ids", "s per token", *decode)
        yield row(f"{name}: prefill of {size.prompt} ids", "s", *prefill)


def published_fallback(lm: Step1LM, size: Size, repeats: int) -> Iterator[dict[str, Any]]:
    """Seconds per token against a full bias per token, by context."""
    config = lm.config
    token = torch.tensor([[1]])
    for context in size.contexts:
        cache = KVCache(config.num_hidden_layers, context + repeats + 2)
        generator = torch.Generator().manual_seed(SEED)
        shape = (1, config.num_attention_groups, context, config.head_dim)
        for layer in range(config.num_hidden_layers):
            # The cost does not depend on what was seen, so nothing needs to be prefilled.
            keys, values = torch.randn(2, *shape, generator=generator).to(size.dtype)
            cache.append(layer, keys, values)
        cache.advance(context)
        theirs = FullBiasDecoder(lm, cache)
        name = f"full bias per token, {context} ids of context"
        check_same(lm.next_logits(token, cache), theirs.next_logits(token), name)
        (spent,) = both(
            timed(partial(lm.next_logits, token, cache)),
            timed(partial(theirs.next_logits, token)),
            repeats,
        )
        yield row(name, "s per token", *spent)


def chunk_loop(size: Size, repeats: int) -> Iterator[dict[str, Any]]:
    """Seconds to tokenize a recording against one chunk after the other."""
    torch.manual_seed(SEED)
    tokenizer = LinguisticTokenizer(size.linguistic).eval()
    nn.init.normal_(tokenizer.codebook)
    waveform = 0.1 * torch.randn(int(size.seconds * tokenizer.sample_rate))
    codes = tokenizer.encode([waveform])[0]
    name = f"linguistic codes chunk by chunk, {size.seconds:g} s"
    if (codes != tokenize_by_chunks(tokenizer, waveform)).float().mean() > 0.01:
        raise SystemExit(f"{name}: both sides give other codes; nothing was measured")
    (spent,) = both(
        timed(partial(tokenizer.encode, [waveform])),
        timed(partial(tokenize_by_chunks, tokenizer, waveform)),
        repeats,
    )
    yield row(name, "s", *spent)


def activation(size: Size, repeats: int) -> Iterator[dict[str, Any]]:
    """Seconds of one anti-aliased activation against three passes over memory."""
    batch, channels, samples = size.activation
    ours = AntiAliased(SnakeBeta(channels, log_scale=True)).eval()
    x = torch.randn(batch, channels, samples, generator=torch.Generator().manual_seed(SEED))
    name = f"plain BigVGAN activation, {channels} x {samples}"
    check_same(ours(x), activate_plainly(ours, x), name)
    (spent,) = both(timed(partial(ours, x)), timed(partial(activate_plainly, ours, x)), repeats)
    yield row(name, "s", *spent)


def ppo_round(lm: Step1LM, size: Size, repeats: int) -> Iterator[dict[str, Any]]:
    """Seconds of a round of PPO against TRL's."""
    batch = 4
    ids = torch.randint(5, lm.config.audio_offset, (batch, size.prompt))
    length = min(size.tokens, 50)
    length -= length % lm.spec.tokens.unit_length
    # Theirs first: where TRL is missing, nothing needs to be trained.
    spent = [
        statistics.median(rounds(lm, list(ids), length, repeats + 1)[1:])
        for rounds in (their_rounds, our_rounds)
    ]
    yield row(f"TRL's PPO, {batch} x {length} ids drawn and learned from", "s", *spent[::-1])


def compare(name: str, repeats: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """All rows of one size, and what is missing for want of a package."""
    size, missing = SIZES[name], {}
    rows: list[dict[str, Any]] = []
    lm = language_model(size)
    with torch.inference_mode():
        try:
            rows += decoding(lm, size, repeats)
        except ImportError as error:
            missing["Hugging Face generate"] = f"{error}; pip install 'stepaudio[bench]'"
        rows += published_fallback(lm, size, repeats)
        rows += chunk_loop(size, repeats)
        rows += activation(size, repeats)
    if size.dtype == torch.float32:
        try:
            rows += ppo_round(lm, size, repeats)
        except ImportError as error:
            missing["TRL's PPO"] = f"{error}; pip install 'stepaudio[bench-rl]'"
    dtype = str(size.dtype).removeprefix("torch.")
    return [{"size": name, "dtype": dtype, **one} for one in rows], missing


def table(report: dict[str, Any]) -> str:
    """The rows as Markdown."""
    lines = ["| size | beside | unit | ours | theirs | ratio |", "|---|---|---|---:|---:|---:|"]
    lines += [
        f"| {one['size']} | {one['row']} | {one['unit']} | {one['ours']:.4g} | {one['theirs']:.4g} "
        f"| {one['ratio']:.3g} |"
        for one in report["rows"]
    ]
    lines += [f"\nmissing: {what}: {why}" for what, why in report["missing"].items()]
    return "\n".join(lines)


def main() -> None:
    """Measure the sizes asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument(
        "--sizes", nargs="+", choices=SIZES, default=["nano", "small", "small-bfloat16"]
    )
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    report = {
        **describe(SEED, "transformers", "trl"),
        "load": load(),
        "rows": [],
        "missing": {},
    }
    for name in args.sizes:
        rows, missing = compare(name, args.repeats)
        report["rows"] += rows
        report["missing"] |= missing
    print(table(report))
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
