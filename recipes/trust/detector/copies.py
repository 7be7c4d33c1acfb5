"""Ways to make a recording again: by the embedded model, or by a vocoder alone.

A copy has the words, the voice and the room of its recording, so what tells the two apart is how
the sound was made and nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from recipes.nano.data.corpus import Utterance
from stepaudio.audio import Audio
from stepaudio.decoder.griffin_lim import GriffinLim
from stepaudio.decoder.mel import log_mel
from stepaudio.edits import Edit
from stepaudio.interfaces import Vocoder
from stepaudio.locate import locate
from stepaudio.parts import load_part
from stepaudio.pipeline import EditPipeline

__all__ = ["COPIES", "EDITS", "Copy", "model_digest"]

_WORLD_RATE = 16000


#: What recordings are asked to become; each is one pass of the language model.
EDITS = (
    Edit.emotion("angry"),
    Edit.emotion("happy"),
    Edit.style("whisper"),
    Edit.emotion("fear"),
    Edit.emotion("sad"),
    Edit.style("child"),
)


class Copy(NamedTuple):
    """A way to make a recording again.

    Attributes:
        kind: how, for the tables.
        family: copies of one family are left out together, as what one has learned of another
            would help it.
        make: a recording with its row and random numbers, to sound of any rate. Nothing is marked.
    """

    kind: str
    family: str
    make: Callable[[Audio, Utterance, random.Random], Audio]


@lru_cache(maxsize=1)
def _pipeline() -> EditPipeline:
    return EditPipeline.from_pretrained(device="cpu", watermarker=None)


def model_digest() -> str:
    """Of the embedded model, which is trained on from time to time."""
    return _pipeline().weights[:8]


@lru_cache(maxsize=1)
def _own_vocoder() -> Any:
    return load_part(locate(None), "vocoder")


def _resynthesized(sound: Audio, row: Utterance, rng: random.Random) -> Audio:
    return _pipeline().resynthesize(sound, seed=rng.randrange(2**31)).audio


def _edited(sound: Audio, row: Utterance, rng: random.Random) -> Audio:
    edit = rng.choice(EDITS if row.text else EDITS[:1])
    return _pipeline().edit(sound, edit, text=row.text, seed=rng.randrange(2**31)).audio


@torch.no_grad()
def _vocoded(sound: Audio, vocoder: Vocoder) -> Audio:
    spec = vocoder.spec
    mel = log_mel(sound.resample(spec.sample_rate).samples[None], spec)
    return Audio(vocoder.synthesize(mel)[0].float(), spec.sample_rate)


def _by_own_vocoder(sound: Audio, row: Utterance, rng: random.Random) -> Audio:
    return _vocoded(sound, _own_vocoder())


def _by_griffin_lim(sound: Audio, row: Utterance, rng: random.Random) -> Audio:
    return _vocoded(sound, GriffinLim(_own_vocoder().spec))


def _by_world(sound: Audio, row: Utterance, rng: random.Random) -> Audio:
    import pyworld

    samples = sound.resample(_WORLD_RATE).samples.double().numpy()
    rough, times = pyworld.dio(samples, _WORLD_RATE)
    pitch = pyworld.stonemask(samples, rough, times, _WORLD_RATE)
    envelope = pyworld.cheaptrick(samples, pitch, times, _WORLD_RATE)
    noise = pyworld.d4c(samples, pitch, times, _WORLD_RATE)
    made = pyworld.synthesize(pitch, envelope, noise, _WORLD_RATE)
    return Audio.load(made.astype(np.float32), sample_rate=_WORLD_RATE)


#: By the name that manifests and tables use.
COPIES: dict[str, Copy] = {
    "nano": Copy("this model, resynthesis", "nano", _resynthesized),
    "nano_edit": Copy("this model, edits", "nano", _edited),
    "nano_vocoder": Copy("this model's vocoder on the recording's mel", "nano", _by_own_vocoder),
    "griffin_lim": Copy("Griffin-Lim on the recording's mel", "griffin_lim", _by_griffin_lim),
    "world": Copy("WORLD", "world", _by_world),
}
