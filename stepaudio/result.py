"""What an edit gives back, and the clock that times its stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from stepaudio.audio import Audio
from stepaudio.edits import Edit
from stepaudio.errors import CancelledError, OutputExistsError
from stepaudio.safety.content_credentials import embed, require_c2pa
from stepaudio.safety.provenance import Provenance, file_hash, sidecar_path
from stepaudio.safety.store import TrustStore
from stepaudio.safety.watermark import MarkNote
from stepaudio.types import SpeechTokens, StopReason

__all__ = ["STAGES", "Cancel", "EditResult", "Progress", "Run"]

T = TypeVar("T")

#: The stages of a run in order, as they appear in timings and progress.
STAGES = ("tokenize", "voice", "generate", "decode", "vocode")

#: Asked now and then; True stops the run.
Cancel: TypeAlias = Callable[[], bool]

#: Told the stage, the steps done in it and the most steps it can take.
Progress: TypeAlias = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EditResult:
    """New speech and how it came about.

    Attributes:
        audio: the new recording.
        tokens: its codes; with a span, those of the new part.
        text: the words it should speak, with the tags of inserted sounds.
        edits: what was done, in order; empty for plain speech and resynthesis.
        stop_reason: ``"end"`` if the language model finished by itself, ``"length"`` if it was
            stopped by a limit, so that the end of the speech may be missing.
        seed: repeats this result with the same inputs.
        timings: seconds spent per stage of :data:`STAGES`; in a batch an equal share each.
        length_ratio: length of the new tokens over that of the tokens first put in; None where
            nothing was put in. With a span, of the part that was edited.
        span: seconds from and to which ``audio`` is new, where only a part was edited; None if all
            of it is.
        provenance: where the recording comes from; None if no pipeline made it.
        watermark: what the new sound is marked with; None if the pipeline was built without a
            watermarker.
    """

    audio: Audio
    tokens: SpeechTokens
    text: str
    edits: tuple[Edit, ...]
    stop_reason: StopReason
    seed: int
    timings: Mapping[str, float]
    length_ratio: float | None
    span: tuple[float, float] | None = None
    provenance: Provenance | None = None
    watermark: MarkNote | None = None

    def save(
        self,
        path: str | Path,
        *,
        force: bool = False,
        subtype: str | None = None,
        credentials: bool = False,
    ) -> Path:
        """Write the recording, and beside it, signed, where it comes from.

        Args:
            path: see :meth:`stepaudio.audio.Audio.save`; of ``out.wav``, the provenance is
                ``out.wav.provenance.json``.
            force: allow replacing existing files.
            subtype: see :meth:`stepaudio.audio.Audio.save`.
            credentials: write the provenance into the file too, as Content Credentials (C2PA);
                WAV and MP3 can hold them.

        Returns:
            The path of the recording.

        Raises:
            MissingExtraError: ``credentials`` without the extra ``c2pa``.
            AudioError: unknown suffix or encoding, or the file cannot be written.
            OutputExistsError: a file exists and ``force`` is False.
            SafetyError: the key that signs is damaged, see :mod:`stepaudio.safety.store`, or the
                provenance holds what JSON cannot.
        """
        path = Path(path)
        if self.provenance is None:
            return self.audio.save(path, force=force, subtype=subtype)
        beside = sidecar_path(path)
        if beside.exists() and not force:
            raise OutputExistsError(f"{beside} exists; choose another name or ask to overwrite it")
        store = TrustStore()
        key = store.key
        if credentials:
            require_c2pa(path)
        # What cannot be written down is refused before there is a recording without its history.
        self.provenance.seal("", key)
        self.audio.save(path, force=force, subtype=subtype)
        if credentials:
            embed(path, self.provenance, store)
        self.provenance.seal(file_hash(path), key).save(beside, force=force)
        return path

    @property
    def seconds_spent(self) -> float:
        """Computing time of all stages, seconds."""
        return sum(self.timings.values())

    @property
    def realtime_factor(self) -> float:
        """Computing time over duration of the result; below 1 is faster than real time."""
        return self.seconds_spent / self.audio.seconds

    @property
    def complete(self) -> bool:
        """Whether the language model finished by itself."""
        return self.stop_reason == "end"


class Run:
    """Clock, progress and cancellation of one call.

    Args:
        cancel: asked between stages and between tokens.
        progress: told about every stage.
    """

    def __init__(self, cancel: Cancel | None = None, progress: Progress | None = None) -> None:
        self.cancel = cancel
        self._progress = progress
        self._seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Time a stage.

        Args:
            name: one of :data:`STAGES`.
            total: most steps it can take.

        Yields:
            To be called with the number of steps done.

        Raises:
            CancelledError: the caller asked to stop.
        """
        self.check()

        def report(done: int) -> None:
            self.report(name, done, total)

        report(0)
        start = time.perf_counter()
        try:
            yield report
        finally:
            self._seconds[name] += time.perf_counter() - start
        report(total)

    def follow(self, name: str, items: Iterator[T]) -> Generator[T, None, None]:
        """Time a stage that works piece by piece while the stages before it still do.

        Args:
            name: one of :data:`STAGES`.
            items: what it makes; may pull from another followed stage, whose time is not counted
                twice.

        Yields:
            The items. Closing this closes them.

        Raises:
            CancelledError: the caller asked to stop.
        """
        try:
            while True:
                self.check()
                inner, start = sum(self._seconds.values()), time.perf_counter()
                try:
                    item = next(items)
                except StopIteration:
                    return
                finally:
                    inner -= sum(self._seconds.values())
                    self._seconds[name] += time.perf_counter() - start + inner
                yield item
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def report(self, name: str, done: int, total: int) -> None:
        """Tell the progress of a stage.

        Args:
            name: one of :data:`STAGES`.
            done: steps done.
            total: most steps it can take.
        """
        if self._progress is not None:
            self._progress(name, done, total)

    def check(self) -> None:
        """Stop if the caller wants it.

        Raises:
            CancelledError: the caller asked to stop.
        """
        if self.cancel is not None and self.cancel():
            raise CancelledError("stopped because the caller asked for it")

    def share(self, count: int) -> dict[str, float]:
        """Seconds per stage for each of ``count`` samples."""
        return {name: seconds / count for name, seconds in self._seconds.items()}
