"""Perth as a watermarker: a trained mark below 2 kHz that says only that it is there.

The implicit watermarker of Resemble AI's package ``resemble-perth``, whose weights come with it.
It carries no payload, so :attr:`PerthWatermarker.payload_bits` is 0 and manifests name the scheme
alone. Needs the extra ``perth``. It has not been measured by this library's benchmarks
(``docs/watermark.md``).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.errors import MissingExtraError, WatermarkError
from stepaudio.safety.watermark import Detection, Watermarker
from stepaudio.safety.watermark_blocks import BlockStream, fitted
from stepaudio.safety.watermark_code import check_payload

__all__ = ["PerthWatermarker"]

# The mark reaches to 2 kHz; narrower sound than this hardly exists.
_MIN_RATE = 8000

# The detector gives one number for all that it hears, so it hears this many seconds at a time.
_PART = 5.0


class PerthWatermarker(Watermarker):
    """Marks and listens with Perth.

    Scores are the detector's own confidence, 0 to 1, in the five seconds where it is highest.

    Args:
        threshold: confidence from which on a mark is said to be there.

    Raises:
        MissingExtraError: Perth, or a package that it needs without saying so, is not installed.
        WatermarkError: the threshold is not a confidence.
    """

    def __init__(self, *, threshold: float = 0.5) -> None:
        if not 0 < threshold <= 1:
            raise WatermarkError(
                f"the threshold is a confidence above 0 and up to 1, not {threshold}"
            )
        try:
            import perth
        except (ImportError, OSError) as error:  # OSError: a torchaudio of another torch
            raise MissingExtraError(
                f"Perth is needed ({error}); pip install 'stepaudio[perth]'"
            ) from error
        # The package hides the failed import of what it needs itself.
        if perth.PerthImplicitWatermarker is None:
            raise MissingExtraError(
                "Perth is installed without librosa, torchaudio or setuptools<81, which it needs; "
                "pip install 'stepaudio[perth]'"
            )
        self._perth: Any = perth.PerthImplicitWatermarker()
        self._rate = int(self._perth.perth_net.hp.sample_rate)
        self.threshold = threshold

    @property
    def name(self) -> str:
        """See :attr:`Watermarker.name`."""
        return "perth-implicit-1"

    @property
    def payload_bits(self) -> int:
        """See :attr:`Watermarker.payload_bits`."""
        return 0

    def stream(
        self,
        payload: int,
        sample_rate: int,
        *,
        spans: Sequence[tuple[float, float]] | None = None,
    ) -> BlockStream:
        """See :meth:`Watermarker.stream`; sound comes out half a minute at a time."""
        check_payload(payload, 0)
        if sample_rate < _MIN_RATE:
            raise WatermarkError(
                f"sound of {sample_rate} Hz is too narrow to be marked; "
                f"Perth is used from {_MIN_RATE} Hz on"
            )
        return BlockStream(self._mark_of, self._rate, sample_rate, spans)

    def detect(self, audio: Audio) -> Detection:
        """See :meth:`Watermarker.detect`; there is never a payload."""
        score = max(self._confidence(part) for _, part in _parts(audio))
        return Detection(
            found=score >= self.threshold,
            score=score,
            threshold=self.threshold,
            payload=None,
            payload_score=0.0,
            speed=1.0,
        )

    def localise(self, audio: Audio) -> tuple[tuple[float, float], ...]:
        """See :meth:`Watermarker.localise`; borders are good to five seconds."""
        found: list[tuple[float, float]] = []
        for begin, part in _parts(audio):
            if self._confidence(part) < self.threshold:
                continue
            start = found.pop()[0] if found and found[-1][1] == begin else begin
            found.append((start, begin + part.seconds))
        return tuple(found)

    def _mark_of(self, sound: Tensor) -> Tensor:
        """``[S]`` what Perth adds to ``[S]``; its transform loses the last few samples."""
        with torch.no_grad():
            marked = self._perth.apply_watermark(sound.numpy(), sample_rate=self._rate)
        both = torch.from_numpy(marked)
        return both - sound[: len(both)]

    def _confidence(self, audio: Audio) -> float:
        """What the detector says of a part, 0 where there is nothing to hear."""
        sound = audio.resample(self._rate).samples
        padded = fitted(sound, max(len(sound), self._rate)).numpy()
        with torch.no_grad():
            heard = float(self._perth.get_watermark(padded, sample_rate=self._rate, round=False))
        return 0.0 if math.isnan(heard) else heard


def _parts(audio: Audio) -> Iterator[tuple[float, Audio]]:
    """Parts of equal length, about as long as the detector hears, and their beginnings."""
    count = max(1, round(audio.seconds / _PART))
    borders = np.linspace(0, len(audio), count + 1).astype(int).tolist()
    for start, end in itertools.pairwise(borders):
        yield start / audio.sample_rate, Audio(audio.samples[start:end], audio.sample_rate)
