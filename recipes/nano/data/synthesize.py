"""Stage: synthetic speech with exact phone times, pseudo-speakers and parallel edits.

Uses hibari-tts (Apache-2.0), whose network exposes pitch and spectra before the waveform is made,
so the same utterance is rendered neutral and changed, frame for frame.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hibari.tts
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from hibari import dsp

from recipes.nano.data.corpus import Utterance, write_audio
from recipes.nano.data.phones import phone_words, phonemizer
from recipes.nano.data.plan import drawn
from recipes.nano.data.symbols import SILENCE, phone_index
from recipes.nano.data.transform import changed
from recipes.nano.data.voice_change import (
    CHANGES,
    VoiceChange,
    change_pitch,
    frequency_gain_db,
    warp_frequencies,
)

__all__ = ["ExposedVoice", "pseudo_speaker", "render", "sentences", "synthesize_one"]

FRAME_RATE = dsp.SR / dsp.HOP
#: Sentences of one pseudo-speaker: a voice to speak in needs another recording of it.
SENTENCES_PER_SPEAKER = 4
#: Factor on the synthesizer's level.
LEVEL = 0.6
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


@lru_cache(maxsize=1)
def exposed_voice() -> ExposedVoice:
    """The synthesizer of this process."""
    return ExposedVoice()


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


def sentences(texts: Iterable[str], count: int, rng: random.Random) -> list[str]:
    """Sentences of a corpus, then word salads of its vocabulary for new phone sequences.

    Args:
        texts: English.
        count: how many are wanted.
        rng: order and salads.

    Returns:
        So many sentences.

    Raises:
        ValueError: no text has 3 to 30 words.
    """
    known = sorted({t.lower() if t.isupper() else t for t in texts})
    known = [t for t in known if 3 <= len(t.split()) <= 30]
    if not known:
        raise ValueError("the corpus has no English text of 3 to 30 words to be spoken")
    words = sorted({w.strip(".,;:!?\"'").lower() for t in known for w in t.split()} - {""})
    rng.shuffle(known)
    out = known[:count]
    while len(out) < count:
        out.append(" ".join(rng.choice(words) for _ in range(rng.randint(5, 12))) + ".")
    return out


def synthesize_one(item: tuple[int, str], out: Path, edits: float, seed: int) -> list[Utterance]:
    """Render a sentence once neutral and some times changed.

    Args:
        item: number and sentence; several sentences in a row are of one pseudo-speaker.
        out: folder of the stage.
        edits: changed renderings, on average.
        seed: of speakers and changes.

    Returns:
        The rows, the neutral one first.
    """
    number, text = item
    key, who = f"syn{number:05d}", f"syn-v{number // SENTENCES_PER_SPEAKER:05d}"
    rng = random.Random(zlib.crc32(f"{seed}{key}".encode()))
    speaker = pseudo_speaker(random.Random(zlib.crc32(f"{seed}{who}".encode())))
    spectra, phones = exposed_voice()(" ".join(phonemizer().phonemize(text))[:390], 1.0)
    labels: dict[str, Any] = {
        "phones": [[phone, round(seconds / speaker.rate, 4)] for phone, seconds in phones]
    }
    words = phone_words(text)
    if sum(len(said) for _, said in words) == sum(phone != SILENCE for phone, _ in phones):
        labels["words"] = [[word, len(said)] for word, said in words]
    neutral = Utterance(
        key, str(out / "audio" / f"{key}.flac"), who, text, "en", labels, licence="Apache-2.0",
        made="engine", engine=f"hibari-tts {version('hibari-tts')}",
    )  # fmt: skip
    sound = render(spectra, speaker, VoiceChange(), zlib.crc32(key.encode()))
    write_audio(neutral.path, sound * LEVEL, dsp.SR)
    rows = [neutral]
    for change in drawn(CHANGES, edits, rng):
        row = changed(neutral, change, out / "audio", len(sound) / dsp.SR)
        other = render(spectra, speaker, CHANGES[change], zlib.crc32(row.id.encode()))
        write_audio(row.path, other * LEVEL, dsp.SR)
        rows.append(row)
    return rows
