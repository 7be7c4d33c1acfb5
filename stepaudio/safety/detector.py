"""Does it sound like a person who was recorded, or like a machine? An opinion, with its odds.

A small network was trained on people's recordings against what this library, bare vocoders and some
unrelated engines make of the same words and voices. It knows those; ``docs/detector.md`` tells how
often it errs, also on generators it has never heard. It says ``unknown`` where it was not measured,
and it never proves anything: for proofs there are the watermark and the provenance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Self

from stepaudio.audio import Audio, AudioSource
from stepaudio.safety.detector_network import (
    FRAME_RATE,
    HOP,
    SAMPLE_RATE,
    DetectorNetwork,
    Frames,
    band_powers,
)

__all__ = [
    "Heard",
    "Label",
    "SyntheticSpeechDetector",
    "Verdict",
    "bandwidth",
    "embedded_detector",
]

#: ``real``: sounds like a recording; ``synthetic``: sounds made; ``unknown``: cannot tell.
Label = Literal["real", "synthetic", "unknown"]

_EMBEDDED = Path(__file__).parents[1] / "assets" / "detector"
# Heard at once, seconds, not much more than in training.
_PIECE = 4.0
# Less voice than this says nothing.
_LEAST_VOICE = 1.0
# Recordings without sound above this carry too little of what makers leave behind, Hz.
_NARROW = 4500.0
# The band ends where the power has fallen by so much from its highest, dB.
_BAND_DB = 65.0
# What counts of a band is the level that it keeps below for so much of the time: a click has sound
# in all bands.
_LOUDER = 0.9
# Frames are judged by the half second around them; shorter stretches are not reported, and closer
# ones are joined.
_AROUND, _SHORTEST_SPAN, _JOINED = 0.5, 0.4, 0.3
_SILENT = 1e-4
# A piece whose loudest frame is so far below the loudest of all is a pause, natural logarithm.
_PAUSE = 30 * math.log(10) / 10


@dataclass(frozen=True)
class Verdict:
    """What the detector thinks of a recording.

    Attributes:
        label: its opinion.
        probability: that the recording is synthetic, if people and machines are equally likely;
            None where the detector was not asked. Calibrated on generators it had not heard.
        frames: ``[T]`` the same for the half second around each moment,
            :data:`~stepaudio.safety.detector_network.FRAME_RATE` per second; NaN where nobody
            speaks, empty where the detector was not asked.
        spans: seconds from and to which it sounds synthetic.
        reason: a sentence.
    """

    label: Label
    probability: float | None
    frames: Tensor
    spans: tuple[tuple[float, float], ...]
    reason: str


class Heard(NamedTuple):
    """What the network made of a recording, before any opinion.

    Attributes:
        score: mean over the frames with voice, not calibrated.
        distance: from what the network knows.
        scores: ``[T]`` of the frames.
        voiced: ``[T]`` which of them count.
    """

    score: float
    distance: float
    scores: Tensor
    voiced: Tensor


class SyntheticSpeechDetector:
    """Tells recordings of people from made speech.

    Args:
        network: with its calibration, in evaluation mode.
    """

    def __init__(self, network: DetectorNetwork) -> None:
        self.network = network

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None) -> Self:
        """Load a detector.

        Args:
            folder: that a recipe wrote; None is the one that comes with the library.

        Returns:
            The detector.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        return cls(DetectorNetwork.from_pretrained(_EMBEDDED if folder is None else folder))

    def detect(self, audio: AudioSource) -> Verdict:
        """Listen to a recording.

        Args:
            audio: any source of :meth:`Audio.load`, of any rate and length.

        Returns:
            The opinion.

        Raises:
            AudioError: the recording cannot be read.
        """
        sound = Audio.load(audio)
        if float((sound.samples - sound.samples.mean()).abs().max()) <= _SILENT:
            return _nothing("It is silent.")
        config = self.network.config
        bands = band_powers(sound.resample(SAMPLE_RATE).samples, config.bands)
        heard = self.hear(bands)
        voice = float(heard.voiced.sum()) / FRAME_RATE
        if voice < _LEAST_VOICE:
            return _nothing(
                f"It has {voice:.1f} s of sound that could be speech; at least "
                f"{_LEAST_VOICE:.0f} s are needed."
            )
        width = bandwidth(bands)
        if width < _NARROW:
            return _nothing(
                f"It has no sound above {width / 1000:.1f} kHz, as on the telephone; what makers "
                "leave behind lies higher."
            )
        if heard.distance > config.farthest:
            return _nothing(
                "It is unlike all the speech that the detector knows: music, noise, several "
                "voices, or a manner or a device it has not heard."
            )
        chance = self.probability(torch.tensor(heard.score)).item()
        frames = self.frame_probabilities(heard)
        spans = tuple(_spans(frames, config.span_above))
        label: Label = "unknown"
        if chance >= config.synthetic_above:
            label, reason = "synthetic", "It sounds like speech made by a machine."
        elif spans:
            reason = "Parts of it sound like speech made by a machine."
        elif chance <= config.real_below:
            label, reason = "real", "It sounds like a recording of a person."
        else:
            reason = "It could be either."
        return Verdict(label, chance, frames, spans, reason)

    @torch.no_grad()
    def hear(self, bands: Tensor) -> Heard:
        """Run the network, without any opinion.

        Args:
            bands: ``[T, bands]`` of a recording of any length.

        Returns:
            Scores.
        """
        count = max(1, math.ceil(len(bands) * HOP / SAMPLE_RATE / _PIECE))
        # Pieces begin with an even frame, as the network makes one score of two.
        size = 2 * math.ceil(len(bands) / count / 2)
        parts = torch.split(bands, size)
        loudest = bands.logsumexp(-1).max()
        made: list[Frames] = []
        for part in parts:
            frames = self.network(part[None])
            # A piece that is one pause has frames that are loud for a pause.
            silent = part.logsumexp(-1).max() < loudest - _PAUSE
            made.append(frames._replace(voiced=frames.voiced * 0) if silent else frames)
        scores = torch.cat([one.scores[0] for one in made])
        voiced = torch.cat([one.voiced[0] for one in made])
        weights = torch.stack([one.voiced.sum() for one in made])
        inner = torch.cat([one.inner for one in made])
        mean = (inner * weights[:, None]).sum(0) / weights.sum().clamp(min=1)
        score = (scores * voiced).sum() / voiced.sum().clamp(min=1)
        return Heard(score.item(), self.network.distance(mean).item(), scores, voiced)

    def frame_probabilities(self, heard: Heard) -> Tensor:
        """``[T]`` of the half second around each frame; NaN where a frame does not count."""
        around = self.probability(_around(heard.scores, heard.voiced))
        return around.masked_fill(heard.voiced == 0, math.nan)

    def probability(self, scores: Tensor) -> Tensor:
        """Calibrate.

        Args:
            scores: of the network, of any shape.

        Returns:
            Probabilities of synthetic, of that shape.
        """
        config = self.network.config
        return torch.sigmoid(config.slope * scores + config.offset)


@lru_cache(maxsize=1)
def embedded_detector() -> SyntheticSpeechDetector:
    """The detector that comes with the library, loaded once."""
    return SyntheticSpeechDetector.from_pretrained()


def bandwidth(bands: Tensor) -> float:
    """Up to where a recording has sound.

    Args:
        bands: ``[T, bands]`` of :func:`~stepaudio.safety.detector_network.band_powers`.

    Returns:
        Hz: middle of the highest band whose power, in its louder moments, is at most 65 dB below
        the strongest.
    """
    power = bands.kthvalue(math.ceil(_LOUDER * len(bands)), dim=0).values
    strong = (power > power.max() - _BAND_DB * math.log(10) / 10).nonzero()[-1].item()
    return SAMPLE_RATE / 2 * (strong + 1) / (bands.shape[1] + 1)


def _nothing(reason: str) -> Verdict:
    return Verdict("unknown", None, torch.zeros(0), (), reason)


def _around(scores: Tensor, voiced: Tensor) -> Tensor:
    """``[T]`` mean score of the frames with voice within a quarter of a second of each."""
    size = round(_AROUND * FRAME_RATE) // 2 * 2 + 1
    window = torch.ones(1, 1, size)
    both = torch.stack([scores * voiced, voiced])[:, None]
    total, count = F.conv1d(both, window, padding=size // 2)[:, 0]
    mean: Tensor = total / count.clamp(min=1)
    return mean


def _spans(frames: Tensor, above: float) -> Iterator[tuple[float, float]]:
    """Stretches of probable frames, in seconds; pauses neither make nor break one."""
    start = end = None
    # One more frame that is not, to end the last stretch.
    likely = [*torch.nonzero(frames >= above)[:, 0].tolist(), math.inf]
    for place in likely:
        if start is not None and end is not None and place - end > _JOINED * FRAME_RATE:
            if (end + 1 - start) / FRAME_RATE >= _SHORTEST_SPAN:
                yield start / FRAME_RATE, (end + 1) / FRAME_RATE
            start = None
        start = place if start is None else start
        end = place
