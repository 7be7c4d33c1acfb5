"""What a watermarker is: it marks sound inaudibly, finds the mark again and says where it is.

Every pipeline marks what it makes, unless it was built with ``watermarker=None``. A watermark
tells an honest listener where a recording comes from. It does not stop somebody who wants it
gone; ``docs/watermark.md`` lists what breaks the built-in one
(:class:`stepaudio.safety.watermark_spread.SpreadSpectrum`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stepaudio.audio import Audio
from stepaudio.errors import StepAudioError, WatermarkError
from stepaudio.seeds import derive_seed

__all__ = [
    "Detection",
    "MarkNote",
    "WatermarkStream",
    "Watermarker",
    "check_watermarker",
    "mark",
    "payload_of",
]


@dataclass(frozen=True)
class Detection:
    """What a detector heard.

    Attributes:
        found: the score reached the threshold.
        score: evidence for a mark, in the unit of the scheme; the built-in one counts standard
            deviations of what unmarked sound gives.
        threshold: from which on a mark is said to be there. Below it the mark may be missing,
            damaged, or the sound too short or too quiet to tell.
        payload: the bits that were carried; None where they cannot be read with certainty.
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
        payload: the bits that it carries.
    """

    scheme: str
    payload: int

    def __str__(self) -> str:
        """As it stands in manifests."""
        return f"{self.scheme} {self.payload:08x}"


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

    @property
    def payload_bits(self) -> int:
        """How many bits a mark carries; 0 where it only says that it is there."""
        return 32

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
            payload: a number of :attr:`payload_bits` bits.
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
            payload: a number of :attr:`payload_bits` bits.
            spans: seconds from the beginning to mark; outside them every sample stays as it is.
                None marks everything.

        Returns:
            A recording of the same length.

        Raises:
            WatermarkError: the payload, a span or the sample rate cannot be used, or the marker
                failed.
        """
        for start, end in spans or ():
            if not (math.isfinite(start) and math.isfinite(end) and 0 <= start < end):
                raise WatermarkError(
                    f"a span of {start} s to {end} s cannot be marked; choose 0 <= start < end"
                )
        stream = self.stream(payload, audio.sample_rate, spans=spans)
        return Audio(torch.cat(list(_through(stream, [audio.samples]))), audio.sample_rate)


def mark(
    pieces: Iterable[Tensor], watermarker: Watermarker | None, seed: int, sample_rate: int
) -> Iterator[Tensor]:
    """The one door through which sound leaves a pipeline.

    Args:
        pieces: ``[S]`` consecutive samples of one recording: all of them, or as they are made.
        watermarker: marks them; None lets them through as they are, for those who said so when
            they built the pipeline.
        seed: of the recording; its payload is :func:`payload_of` it.
        sample_rate: Hz.

    Yields:
        Marked pieces, none of them empty; together as long as those that went in.

    Raises:
        WatermarkError: the watermarker failed. Nothing is given away unmarked.
    """
    if watermarker is None:
        yield from (piece for piece in pieces if len(piece))
        return
    stream = _begun(watermarker, payload_of(seed, watermarker.payload_bits), sample_rate)
    yield from _through(stream, pieces)


def check_watermarker(watermarker: object, sample_rate: int) -> None:
    """Refuse a watermarker that cannot work, before any sound is made.

    Args:
        watermarker: of a pipeline; None marks nothing.
        sample_rate: of what the pipeline makes, Hz.

    Raises:
        WatermarkError: not a watermarker, or one that cannot begin.
    """
    if watermarker is None:
        return
    if not isinstance(watermarker, Watermarker):
        raise WatermarkError(
            f"watermarker must be a stepaudio.safety.watermark.Watermarker or None, "
            f"not a {type(watermarker).__name__}"
        )
    _begun(watermarker, 0, sample_rate)


def _begun(watermarker: Watermarker, payload: int, sample_rate: int) -> WatermarkStream:
    try:
        return watermarker.stream(payload, sample_rate)
    except StepAudioError:
        raise
    except Exception as error:
        raise WatermarkError(
            f"the watermarker {type(watermarker).__name__} does not work ({error!r}), and without "
            "it no sound is made; repair it, or build the pipeline with another one"
        ) from error


def _through(stream: WatermarkStream, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
    """Marked pieces; refuses if fewer or more samples come out than went in."""
    entered = left = 0
    for last, piece in _with_end(pieces):
        entered += len(piece)
        try:
            marked = stream.finish() if last else stream.push(piece)
        except StepAudioError:
            raise
        except Exception as error:
            raise WatermarkError(
                f"the watermarker {type(stream).__name__} failed ({error!r}), so the sound is "
                "withheld; repair it, or build the pipeline with another one"
            ) from error
        left += len(marked)
        if left > entered or (last and left < entered):
            raise WatermarkError(
                f"the watermarker {type(stream).__name__} made {left} samples of {entered}; "
                "a watermark must keep the length"
            )
        if len(marked):
            yield marked


def _with_end(pieces: Iterable[Tensor]) -> Iterator[tuple[bool, Tensor]]:
    for piece in pieces:
        yield False, piece
    yield True, torch.zeros(0)


def payload_of(seed: int, bits: int = 32) -> int:
    """The payload of a result: it names the run that made it, and repeats with it.

    Args:
        seed: of the result.
        bits: that the watermarker carries.

    Returns:
        The lowest of the 32 bits that belong to the seed.
    """
    return derive_seed(seed, "watermark") & ((1 << min(bits, 32)) - 1)
