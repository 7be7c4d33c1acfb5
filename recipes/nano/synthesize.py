"""Stage 1: synthetic speech with exact phone times, pseudo-speakers and parallel edits.

Uses hibari-tts (Apache-2.0), whose network exposes pitch and spectra before the waveform is made,
so the same utterance is rendered neutral and changed, frame for frame.

    python -m recipes.nano.synthesize --texts MANIFEST -o runs/nano/synthetic
"""

from __future__ import annotations

import argparse
import random
import zlib
from dataclasses import replace
from pathlib import Path

import hibari.tts
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from hibari import dsp
from rich.progress import track

from recipes.nano.corpus import Utterance, read_manifest, write_audio, write_manifest
from recipes.nano.phones import SILENCE, phone_index, phonemizer
from recipes.nano.voice_change import (
    CHANGES,
    VoiceChange,
    change_pitch,
    frequency_gain_db,
    warp_frequencies,
)

FRAME_RATE = dsp.SR / dsp.HOP
#: Durations of the network count pairs of 12.5 ms frames.
FRAMES_PER_STEP = 2
#: Seconds by which the sound runs ahead of the predicted durations: where fricatives and speech
#: begin, labels otherwise came 50 to 60 ms late, and all alignments learn from these.
LEAD = 0.055


class ExposedVoice:
    """The synthesizer with its phone durations as a further output."""

    def __init__(self) -> None:
        graph = onnx.load(str(Path(hibari.tts.ASSETS) / "hibari.onnx"))
        clip = next(n for n in graph.graph.node if n.op_type == "Clip")
        graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(clip.output[0]))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(
        self, phonemes: str, speed: float
    ) -> tuple[list[npt.NDArray[np.float32]], list[tuple[int, float]]]:
        """Spectra and pitch of one sentence, and its ``(phone, seconds)`` pairs."""
        vocabulary = phonemizer().vocab
        symbols = [c for c in phonemes if c in vocabulary]
        ids = np.asarray([[0, *[vocabulary[c] for c in symbols], 0]], np.int64)
        *spectra, durations = self.session.run(
            None, {"ids": ids, "speed": np.asarray([speed], np.float32)}
        )
        step = FRAMES_PER_STEP / FRAME_RATE
        phones: list[tuple[int, float]] = []
        carried = 0.0
        for symbol, duration in zip(["", *symbols, ""], durations, strict=True):
            seconds = float(duration) * step
            if symbol and symbol in "ˈˌː":  # marks belong to the phone that follows
                carried += seconds
                continue
            phones.append(
                (phone_index(symbol) or SILENCE if symbol else SILENCE, seconds + carried)
            )
            carried = 0.0
        silence, seconds = phones[0]
        phones[0] = silence, max(0.0, seconds - LEAD)
        return [s[0] for s in spectra], phones


def render(
    spectra: list[npt.NDArray[np.float32]], speaker: VoiceChange, change: VoiceChange, seed: int
) -> npt.NDArray[np.float32]:
    """Waveform ``[S]`` at 24 kHz of one sentence said by a pseudo-speaker with a change."""
    harmonic, phase, noise, free, free_phase, f0 = spectra
    frames = harmonic.shape[1]
    rate = speaker.rate * change.rate
    index = np.clip(np.round(np.arange(round(frames / rate)) * rate).astype(int), 0, frames - 1)
    warp = speaker.warp * change.warp
    frequencies = np.linspace(0, dsp.SR / 2, harmonic.shape[0], dtype=np.float32)
    log_gain = (
        frequency_gain_db(frequencies, change) + frequency_gain_db(frequencies, speaker)
    ) / 8.686

    def moved(log_spectrum: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        out: npt.NDArray[np.float32] = warp_frequencies(log_spectrum.T[index], warp).T
        return out + log_gain[:, None]

    pitch = change_pitch(change_pitch(f0[index], speaker, FRAME_RATE), change, FRAME_RATE)
    harmonic, noise, free = moved(harmonic), moved(noise), moved(free)
    noise = noise + change.breath_db / 8.686
    if change.whisper:
        # Breath excites the vocal tract instead of the glottis: same envelope, less at the bottom.
        envelope = np.maximum(harmonic - 1.2, noise)
        envelope -= (np.clip(600 - frequencies, 0, 600) / 600 * 1.8)[:, None]
        noise, harmonic, free = envelope, harmonic - 20, free - 20
    rng = np.random.default_rng(seed)
    sound: npt.NDArray[np.float32] = dsp.synth(
        harmonic.astype(np.float32),
        phase[:, index],
        noise.astype(np.float32),
        free.astype(np.float32),
        free_phase[:, index],
        pitch,
        rng,
    )
    return sound


def pseudo_speaker(rng: random.Random) -> VoiceChange:
    """A random voice: head size, pitch to go with it, range, rate, tilt."""
    warp = rng.uniform(0.84, 1.14)
    pitch = float(np.clip(0.5 + (warp - 0.84) / 0.3 * 0.75 + rng.gauss(0, 0.08), 0.5, 1.35))
    return VoiceChange(
        pitch=pitch,
        range=rng.uniform(0.8, 1.4),
        rate=rng.uniform(0.85, 1.2),
        tilt_db=rng.gauss(0, 3),
        warp=warp,
    )


def sentences(manifest: str, count: int, rng: random.Random) -> list[str]:
    """Sentences of a corpus, then word salads of its vocabulary for new phone sequences."""
    texts = sorted({u.text for u in read_manifest(manifest) if u.text and u.lang == "en"})
    texts = [t.lower() if t.isupper() else t for t in texts]
    texts = [t for t in texts if 3 <= len(t.split()) <= 40]
    words = sorted({w.strip(".,;:!?\"'").lower() for t in texts for w in t.split()} - {""})
    rng.shuffle(texts)
    out = texts[:count]
    while len(out) < count:
        out.append(" ".join(rng.choice(words) for _ in range(rng.randint(5, 12))) + ".")
    return out


def main() -> None:
    """Render every sentence once neutral and ``--edits`` times changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", required=True, help="corpus manifest whose sentences are spoken")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--edits", type=int, default=2, help="changed renderings per sentence")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    voice, out, rows = ExposedVoice(), Path(args.out), []
    for number, text in enumerate(track(sentences(args.texts, args.count, rng), "synthesize")):
        speaker = pseudo_speaker(rng)
        changes = ["none", *rng.sample(sorted(CHANGES), args.edits)]
        phonemes = " ".join(phonemizer().phonemize(text))[:390]
        spectra, phones = voice(phonemes, 1.0)
        for change in changes:
            rule = CHANGES.get(change, VoiceChange())
            key = f"syn{number:05d}" + (
                "" if change == "none" else "-" + change.replace(":", "-").replace(" ", "_")
            )
            samples = render(spectra, speaker, rule, zlib.crc32(key.encode()))
            path = out / "audio" / f"{key}.flac"
            write_audio(path, samples * 0.6, dsp.SR)
            rate = speaker.rate * rule.rate
            timed = [[phone, round(seconds / rate, 4)] for phone, seconds in phones]
            rows.append(
                Utterance(
                    id=key,
                    path=str(path),
                    speaker=f"syn{number:05d}",
                    text=text,
                    lang="en",
                    labels={"phones": timed},
                    change=change,
                    source="" if change == "none" else f"syn{number:05d}",
                )
            )
    write_manifest(
        out / "manifest.jsonl", (replace(r, path=str(Path(r.path).resolve())) for r in rows)
    )


if __name__ == "__main__":
    main()
