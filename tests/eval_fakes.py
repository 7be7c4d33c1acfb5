"""A benchmark of a few rows with the quirks of the published one, and instruments that know all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from stepaudio.audio import Audio
from stepaudio.edits import Edit
from stepaudio.errors import GenerationError
from stepaudio.evaluation.benchmark_data import Row
from stepaudio.evaluation.contracts import ModelId, Sample, Verdict
from stepaudio.result import Cancel, EditResult
from stepaudio.types import SpeechTokens, VoicePrompt

RATE = 8000
NO_TOKENS = SpeechTokens(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
VOICES = {"167": "en", "7859-102518-0004": "en", "X01_S0-S1": "zh", "Y02_S0-S1": "zh"}
TEXTS = {"en": ["Hello there.", "Who are you?"], "zh": ["你好吗？", "再见，朋友。"]}
TAGGED = {"en": "Well [Sigh], why not?", "zh": "刚跑完步，[Sigh]，需要休息。"}


def tone(value: float, seconds: float = 0.25) -> Audio:
    """A recording whose loudness says which it is."""
    return Audio(torch.full((round(seconds * RATE),), value), RATE)


def row(task: str, label: str, voice: str, text: str, number: str) -> dict[str, str]:
    return {
        "id": f"{label}-{voice}-{number}",
        "task": task,
        "task_sub": label,
        "speaker": voice,
        "gen_text": text,
        "prompt_audio": f"prompt_audios/{voice}.wav",
        "prompt_text": "the words of the prompt",
        "lang": VOICES[voice],
    }


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def write_benchmark(folder: Path) -> Path:
    """Three files as published: repeated ids, a misspelled task, rows that stand there twice."""
    for number, voice in enumerate(VOICES):
        tone(0.1 + 0.1 * number).save(folder / "prompt_audios" / f"{voice}.wav")
    emotion, style, sounds = [], [], []
    for voice, lang in VOICES.items():
        for label in ("happy", "sad"):
            for number, text in enumerate(TEXTS[lang]):
                emotion.append(row("emotion", label, voice, text, str(number)))
        for text in [*TEXTS[lang], TEXTS[lang][0]]:
            style.append(row("style", "act_coy", voice, text, "idx"))
        sounds.append(row("paralingustic", "[Sigh]", voice, TAGGED[lang], "000"))
    write_lines(folder / "emotion.jsonl", emotion)
    write_lines(folder / "style.jsonl", style)
    write_lines(folder / "paralingustic.jsonl", sounds)
    return folder


class FakeSystem:
    """Sounds that carry their history: each edit makes it a little louder.

    ``calls`` tells what was asked; after ``stop_after`` calls somebody presses Ctrl-C.
    """

    def __init__(self, stop_after: int | None = None, fails: str = "") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.stop_after = stop_after
        self.fails = fails

    def _result(self, kind: str, value: float, seed: int, words: str) -> EditResult:
        if self.stop_after is not None and len(self.calls) >= self.stop_after:
            raise KeyboardInterrupt
        self.calls.append((kind, words, seed))
        if self.fails and self.fails in words:
            raise GenerationError("nothing that can be decoded")
        audio = tone(value + (seed % 97) / 100000)
        return EditResult(audio, NO_TOKENS, words, (), "end", seed, {"generate": 0.5}, 1.0)

    def speak(self, words: str, row: Row, seed: int, cancel: Cancel | None) -> EditResult:
        return self._result("speak", 0.1, seed, words)

    def edit(
        self,
        audio: Audio,
        edit: Edit,
        words: str,
        seed: int,
        voice: VoicePrompt | None,
        cancel: Cancel | None,
    ) -> EditResult:
        kind = f"edit {edit.kind} {edit.label or edit.text}" + (" fixed" if voice else "")
        return self._result(kind, float(audio.samples[0]) + 0.1, seed, words)

    def voice(self, audio: Audio, words: str) -> VoicePrompt:
        return VoicePrompt(NO_TOKENS, torch.zeros(80, 1), audio.samples[:1])

    def resynthesize(self, audio: Audio, seed: int, cancel: Cancel | None) -> EditResult:
        return self._result("resynth", float(audio.samples[0]), seed, "")


class LoudnessMetric:
    """Loudness, how often it was asked, and what it was given."""

    name = "loud:ness"

    def __init__(self, version: str = "1") -> None:
        self.model = ModelId("fake/loudness", version)
        self.heard: list[list[Sample]] = []

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        self.heard.append(list(samples))
        return [
            {"level": float(s.audio.samples[0]), "source": s.source and float(s.source.samples[0])}
            for s in samples
        ]


class YesJudge:
    """Hears what was asked for, in recordings loud enough."""

    def __init__(self, labels: tuple[str, ...], floor: float = 0.15, yes: str = "") -> None:
        self.model = ModelId("fake/judge", "1")
        self.labels = labels
        self.floor = floor
        self.yes = yes
        self.asked: list[Sample] = []

    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        self.asked += samples
        return [
            Verdict(self.yes or s.label if s.audio.samples[0] > self.floor else "nothing")
            for s in samples
        ]
