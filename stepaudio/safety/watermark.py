"""What a watermarker is: it marks sound inaudibly, finds the mark again and says where it is.

Every pipeline marks what it makes, unless it was built with ``watermarker=None``. A watermark
tells an honest listener where a recording comes from. It does not stop somebody who wants it
gone; ``docs/safety.md`` lists what breaks the built-in one
(:class:`stepaudio.safety.watermark_spread.SpreadSpectrum`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.errors import WatermarkError
from stepaudio.safety.watermark_code import check_payload
from stepaudio.seeds import derive_seed

__all__ = ["Detection", "MarkNote", "Watermarker", "WatermarkStream", "payload_of"]


@dataclass(frozen=True)
class Detection:
    """What a detector heard.

    Attributes:
        found: the score reached the threshold.
        score: evidence for a mark, in standard deviations of what unmarked sound gives.
        threshold: from which on a mark is said to be there. Below it the mark may be missing,
            damaged, or the sound too short or too quiet to tell.
        payload: the 32 bits; None where they cannot be read with certainty.
        payload_score: evidence for the payload, in the same unit.
        speed: at which the marked sound is played; 1.05 is 5 % too fast.
    """

    found: bool
    score: float
    threshold: float
    payload: int | None
    payload_score: float
    speed: float


@dataclass(frozen=True)
class MarkNote:
    """How a recording was marked, for results and manifests.

    Attributes:
        scheme: name of the watermarker.
        payload: the 32 bits.
        spans: seconds from the beginning that are marked.
    """

    scheme: str
    payload: int
    spans: tuple[tuple[float, float], ...]


class WatermarkStream(ABC):
    """Marks one recording that comes in pieces; the pieces do not matter, only their sum."""

    @abstractmethod
    def push(self, samples: Tensor) -> Tensor:
        """Take the next piece.

        Args:
            samples: ``[S]`` of any length, also zero.

        Returns:
            ``[S']`` marked samples that are ready, possibly none; all pieces together, with
            those of :meth:`finish`, have the length of all that was pushed.
        """

    @abstractmethod
    def finish(self) -> Tensor:
        """The end.

        Returns:
            ``[S']`` the samples that were still held back.
        """


class Watermarker(ABC):
    """Marks recordings and finds the mark."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Of the scheme, with its version, as it stands in manifests."""

    @abstractmethod
    def stream(
        self,
        payload: int,
        sample_rate: int,
        *,
        spans: Sequence[tuple[float, float]] | None = None,
    ) -> WatermarkStream:
        """Begin to mark a recording.

        Args:
            payload: 32 bits.
            sample_rate: Hz.
            spans: seconds from the beginning to mark; outside them every sample stays as it is.
                None marks everything.

        Returns:
            To be fed with the recording.

        Raises:
            WatermarkError: the payload or the sample rate cannot be used.
        """

    @abstractmethod
    def detect(self, audio: Audio) -> Detection:
        """Look for a mark and read it.

        Args:
            audio: any recording.

        Returns:
            What was heard; never an error because there is no mark, or nothing to hear.
        """

    @abstractmethod
    def localise(self, audio: Audio) -> tuple[tuple[float, float], ...]:
        """Where a recording is marked.

        Args:
            audio: any recording.

        Returns:
            Seconds from the beginning, in order; empty where no mark was found.
        """

    def embed(
        self, audio: Audio, payload: int, *, spans: Sequence[tuple[float, float]] | None = None
    ) -> Audio:
        """Mark a recording.

        Args:
            audio: to mark.
            payload: 32 bits.
            spans: seconds from the beginning to mark; outside them every sample stays as it is.
                None marks everything.

        Returns:
            A recording of the same length.

        Raises:
            WatermarkError: the payload, a span or the sample rate cannot be used, or the marker
                did not give back what it was given.
        """
        check_payload(payload)
        for start, end in spans or ():
            if not (math.isfinite(start) and math.isfinite(end) and 0 <= start < end):
                raise WatermarkError(
                    f"a span of {start} s to {end} s cannot be marked; choose 0 <= start < end"
                )
        stream = self.stream(payload, audio.sample_rate, spans=spans)
        marked = torch.cat([stream.push(audio.samples), stream.finish()])
        if marked.shape != audio.samples.shape:
            raise WatermarkError(
                f"{self.name} made {len(marked)} samples of {len(audio.samples)}; "
                "a watermarker must keep the length"
            )
        return Audio(marked, audio.sample_rate)


def payload_of(seed: int) -> int:
    """The payload of a result: it names the run that made it, and repeats with it.

    Args:
        seed: of the result.

    Returns:
        32 bits.
    """
    return derive_seed(seed, "watermark") & 0xFFFFFFFF
