"""The embedded model behind vLLM itself, where STEPAUDIO_VLLM names a Python that has it.

``make vllm`` makes one and runs this.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from same_results import assert_same
from torch import Tensor
from vllm_square_root import make_plugin

from stepaudio import Audio, Edit, EditPipeline, SamplingParams
from stepaudio.convert.huggingface import export_huggingface
from stepaudio.lm.generate import collect
from stepaudio.lm.served import ServedLM, ServerConfig
from stepaudio.locate import EMBEDDED
from stepaudio.prompts import encode_edit_prompt
from stepaudio.tokenizers.interleave import to_text

PYTHON = os.environ.get("STEPAUDIO_VLLM")
if PYTHON is None:
    pytest.skip("needs vLLM: make vllm", allow_module_level=True)

DEMO = Path(__file__).parents[2] / "docs" / "audio" / "demo.flac"
WORDS = "the most unusual thing"
SECONDS_TO_START = 240


@pytest.fixture(scope="module")
def pipe() -> EditPipeline:
    return EditPipeline.from_pretrained(device="cpu")


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedLM]:
    """vLLM on this machine, with the embedded model."""
    folder = tmp_path_factory.mktemp("vllm")
    export_huggingface(EMBEDDED, folder / "lm")
    make_plugin(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "log.txt"
    command = [
        *(PYTHON, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(folder / "lm"), "--served-model-name", "stepaudio"),
        *("--trust-remote-code", "--max-model-len", "2048", "--dtype", "float32"),
        *("--enforce-eager", "--host", "127.0.0.1", "--port", str(port)),
    ]
    wanted = {
        "PYTHONPATH": str(folder),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("w") as output:
        server = subprocess.Popen(
            command, env={**os.environ, **wanted}, stdout=output, stderr=output
        )
    try:
        for _ in range(SECONDS_TO_START):
            if server.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(1)
        assert server.poll() is None, log.read_text()[-2000:]
        yield ServedLM.for_model(EMBEDDED, ServerConfig(f"http://127.0.0.1:{port}/v1"))
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture(scope="module")
def prompts(pipe: EditPipeline) -> list[Tensor]:
    demo = Audio.load(DEMO)
    found = []
    for sound, edit in (
        (demo.clip(0, 3), Edit.style("whisper")),
        (demo.clip(1, 2.2), Edit.emotion("happy")),
        (demo.clip(2, 4), Edit.remove("emotion")),
    ):
        codes = to_text(pipe.parts.tokenizer.encode([sound])[0])
        ids = encode_edit_prompt(pipe.parts.text, edit, codes, WORDS, layout=pipe.defaults.layout)
        found.append(torch.tensor(ids))
    return found


def run(
    lm: ServedLM, prompts: list[Tensor], sampling: SamplingParams, seed: int = 0
) -> list[list[int]]:
    seeds = [torch.Generator().manual_seed(seed + i) for i in range(len(prompts))]
    ids, _ = collect(lm.generate(prompts, sampling, generators=seeds))
    return [row.tolist() for row in ids]


@pytest.mark.parametrize("constrain", [False, True])
def test_greedy_ids_are_those_of_the_model_run_here(
    lm: ServedLM, pipe: EditPipeline, prompts: list[Tensor], constrain: bool
) -> None:
    greedy = SamplingParams(temperature=0.0, constrain=constrain, max_new_tokens=200)
    here, _ = collect(pipe.parts.lm.generate(prompts, greedy))
    assert run(lm, prompts, greedy) == [row.tolist() for row in here]


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(temperature=0.7, max_new_tokens=60),
        SamplingParams(temperature=1.0, top_k=5, max_new_tokens=30),
        SamplingParams(temperature=0.9, top_p=0.9, repetition="ras", max_new_tokens=60),
    ],
)
def test_seeds_count_and_the_grammar_holds(
    lm: ServedLM, prompts: list[Tensor], sampling: SamplingParams
) -> None:
    first = run(lm, prompts, sampling)
    assert run(lm, prompts, sampling) == first
    assert run(lm, prompts, sampling, seed=9) != first
    spec = lm.spec
    for row in first:
        for place, token in enumerate(row):
            linguistic = place % 5 < 2
            code = token - spec.audio_offset
            assert (0 <= code < spec.tokens.linguistic_size) == linguistic
            assert code < spec.tokens.size


def test_ids_are_drawn_with_the_chances_of_the_model(
    lm: ServedLM, pipe: EditPipeline, prompts: list[Tensor]
) -> None:
    draws, kept = 1000, 20
    sampling = SamplingParams(temperature=1.0, top_k=kept, max_new_tokens=1, constrain=False)
    counted: Counter[int] = Counter()
    for first in range(0, draws, 100):
        counted.update(row[0] for row in run(lm, [prompts[0]] * 100, sampling, seed=first))
    with torch.no_grad():
        chances, ids = pipe.parts.lm(prompts[0][None])[0, -1].topk(kept)
    expected = (draws * chances.softmax(-1)).tolist()
    assert set(counted) <= set(ids.tolist())
    seen = [(counted[i], wanted) for i, wanted in zip(ids.tolist(), expected, strict=True)]
    common = [(count, wanted) for count, wanted in seen if wanted > 5]
    chi_square = sum((count - wanted) ** 2 / wanted for count, wanted in common)
    # With about a dozen kinds, 45 is passed once in a million times.
    assert chi_square < 45
    assert len(common) > 3


def test_edits_and_streams_are_those_made_here(lm: ServedLM, pipe: EditPipeline) -> None:
    greedy = replace(pipe.defaults.sampling, temperature=0.0)
    plain = replace(pipe.defaults, guidance_words=0.0, guidance_edit={})
    here = EditPipeline(pipe.parts, defaults=plain)
    there = EditPipeline(replace(pipe.parts, lm=lm), defaults=pipe.defaults)
    sound, edit = Audio.load(DEMO).clip(0, 3), Edit.style("whisper")
    one, other = (p.edit(sound, edit, text=WORDS, seed=1, sampling=greedy) for p in (there, here))
    assert_same(one, other, atol=1e-5)
    streams = [p.stream(sound, edit, text=WORDS, seed=1, sampling=greedy) for p in (there, here)]
    for chunk, other_chunk in zip(*streams, strict=True):
        assert torch.allclose(chunk.samples, other_chunk.samples, atol=1e-5)
