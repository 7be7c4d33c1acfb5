"""The system under test: this library's pipelines, and a name that says which model it is."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepaudio.audio import Audio
from stepaudio.edits import Edit
from stepaudio.evaluation.benchmark_data import Row
from stepaudio.locate import locate
from stepaudio.pipeline import EditPipeline
from stepaudio.pipeline_speech import TTSPipeline
from stepaudio.result import Cancel, EditResult
from stepaudio.types import SamplingParams, VoicePrompt

__all__ = ["PipelineSystem", "load_system", "model_name"]

_SAMPLE = 1 << 16


class PipelineSystem:
    """Both pipelines over the same six parts.

    Args:
        pipeline: to edit with.
        sampling: how the language model draws; None is the model's own way.
        steps: solver steps of the flow.
        guidance: guidance rate of the flow.
    """

    def __init__(
        self,
        pipeline: EditPipeline,
        *,
        sampling: SamplingParams | None = None,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> None:
        self._edit = pipeline
        self._tts = TTSPipeline(pipeline.parts, defaults=pipeline.defaults, name=pipeline.name)
        self._flow: dict[str, Any] = {"steps": steps, "guidance": guidance}
        # Voices of a benchmark's prompts, whose speakers cannot be asked.
        self._flow["policy"] = "research"
        self._how: dict[str, Any] = {"sampling": sampling, **self._flow}
        # A benchmark has few voices and many rows; a voice costs as much as a short edit.
        self._voices: dict[tuple[Path, str], VoicePrompt] = {}

    def speak(self, words: str, row: Row, seed: int, cancel: Cancel | None) -> EditResult:
        """Say words in the voice of the row's prompt.

        Args:
            words: what to say.
            row: names the prompt.
            seed: repeats the result.
            cancel: True stops.

        Returns:
            Speech.
        """
        assert row.prompt_audio is not None
        key = (row.prompt_audio, row.prompt_text)
        if key not in self._voices:
            self._voices[key] = self._tts.voice_prompt(row.prompt_audio, row.prompt_text)
        return self._tts.speak(
            words, voice=self._voices[key], seed=seed, cancel=cancel, **self._how
        )

    def edit(
        self,
        audio: Audio,
        edit: Edit,
        words: str,
        seed: int,
        voice: VoicePrompt | None,
        cancel: Cancel | None,
    ) -> EditResult:
        """One edit; see :meth:`stepaudio.pipeline.EditPipeline.edit`.

        Args:
            audio: the recording.
            edit: what to do.
            words: spoken in it.
            seed: repeats the result.
            voice: to speak in; None is the recording's own.
            cancel: True stops.

        Returns:
            Speech.
        """
        return self._edit.edit(
            audio, edit, text=words, seed=seed, voice=voice, cancel=cancel, **self._how
        )

    def voice(self, audio: Audio, words: str) -> VoicePrompt:
        """The voice of a recording with these words."""
        return self._edit.voice_prompt(audio, words)

    def resynthesize(self, audio: Audio, seed: int, cancel: Cancel | None) -> EditResult:
        """To tokens and back; see :meth:`stepaudio.pipeline.EditPipeline.resynthesize`."""
        return self._edit.resynthesize(audio, seed=seed, cancel=cancel, **self._flow)


def load_system(
    model: str | None,
    *,
    device: str,
    dtype: str,
    temperature: float | None,
    steps: int | None,
    guidance: float | None,
) -> PipelineSystem:
    """Load a model to be measured; a plain function, so that other processes can call it.

    Args:
        model: folder or hub id; None is the embedded one.
        device: where to run.
        dtype: of the language model.
        temperature: of the language model; None is the model's own.
        steps: solver steps of the flow.
        guidance: guidance rate of the flow.

    Returns:
        The system.
    """
    pipeline = EditPipeline.from_pretrained(model, device=device, dtype=dtype)
    own = pipeline.defaults.sampling
    sampling = None if temperature is None else replace(own, temperature=temperature)
    return PipelineSystem(pipeline, sampling=sampling, steps=steps, guidance=guidance)


def model_name(model: str | None) -> str:
    """Which model: what the caller calls it and a digest of its files.

    A retrained model in the same folder gets another name, so that its results are never mixed
    with older ones.

    Args:
        model: folder or hub id; None is the embedded one.

    Returns:
        E.g. ``"embedded (3f9c2a1b)"``.
    """
    folder = locate(model)
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder).as_posix()} {size}\n".encode())
        with file.open("rb") as content:
            # Pieces of large files tell trainings apart as well as all of them, in no time.
            for start in (0, size // 2, max(0, size - _SAMPLE)):
                content.seek(start)
                digest.update(content.read(_SAMPLE))
    return f"{'embedded' if model is None else Path(model).name} ({digest.hexdigest()[:8]})"
