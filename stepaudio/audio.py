"""One mono recording: loading, checking, resampling, cutting and saving.

Whatever enters the library passes through :class:`Audio`, so every later stage may rely on a
finite, non-empty, mono float32 signal with a sane rate.
"""

from __future__ import annotations

import bisect
import hashlib
import io
import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepaudio.errors import AudioError, OutputExistsError
from stepaudio.hub import write_atomic

__all__ = [
    "MAX_SAMPLE_RATE",
    "MAX_SECONDS",
    "MIN_SAMPLE_RATE",
    "Audio",
    "AudioSource",
    "sound_format",
    "to_pcm",
]

#: Rates outside these bounds, in Hz, are taken for a damaged header.
MIN_SAMPLE_RATE = 1_000
MAX_SAMPLE_RATE = 768_000
#: Longest recording accepted, in seconds (four hours).
MAX_SECONDS = 4 * 3600

# Beyond this a "float" signal is almost surely unscaled 16-bit integers.
_MAX_AMPLITUDE = 100.0
_MAX_CHANNELS = 32
_BLOCK = 1 << 20
# A longer single write overflows the stack of some libsndfile builds when encoding Vorbis.
_WRITE_BLOCK = 1 << 15
_SUFFIXES = {"AIF": "AIFF", "OGA": "OGG", "OPUS": "OGG"}
# Subtype -> (numpy type handed to libsndfile, bits of the format).
_PCM: dict[str, tuple[type[np.signedinteger[Any]], int]] = {
    "PCM_16": (np.int16, 16),
    "PCM_24": (np.int32, 24),
    "PCM_32": (np.int32, 32),
}
# Rates in Hz of what does not hold all of them. libsndfile dies of more for Vorbis.
_RATES: dict[str, Sequence[int]] = {
    "OPUS": (8_000, 12_000, 16_000, 24_000, 48_000),
    "MPEG_LAYER_III": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "VORBIS": range(1, 200_001),
    "FLAC": range(1, 655_351),
}

#: Everything :meth:`Audio.load` takes.
AudioSource: TypeAlias = (
    "Audio | str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] "
    "| NDArray[Any] | Tensor"
)


@dataclass(frozen=True, eq=False, repr=False)
class Audio:
    """A mono recording.

    Floating tensors of another width or on another device are brought to float32 on the CPU.

    Attributes:
        samples: ``[S]`` float32 in about [-1, 1].
        sample_rate: Hz.
        source: the file it was loaded from, as it was then; None for any other sound.

    Raises:
        AudioError: not a one-dimensional floating tensor, empty, not finite, of absurd rate,
            length or amplitude.
    """

    samples: Tensor
    sample_rate: int
    source: Path | None = None

    def __post_init__(self) -> None:
        samples, rate = _validated(self.samples, self.sample_rate, "the samples")
        object.__setattr__(self, "samples", samples)
        object.__setattr__(self, "sample_rate", rate)

    @classmethod
    def load(cls, source: AudioSource, *, sample_rate: int | None = None) -> Audio:
        """Read a recording and mix it down to mono.

        Channels are averaged. In a two-dimensional array the shorter axis is taken for the
        channels, so both ``[S, channels]`` and ``[channels, S]`` work. Integer samples are
        divided by the full scale of their type. A file that ends before its header says is
        accepted as far as it can be decoded, because writers to a pipe announce lengths they
        do not know.

        Args:
            source: path, encoded bytes, binary file object (read from where it stands to its
                end), numpy array, tensor, or an ``Audio``, which is returned as it is.
            sample_rate: Hz, of an array or tensor; files carry their own.

        Returns:
            The recording at its own rate.

        Raises:
            AudioError: the source cannot be read or is not usable sound; the message names it.
        """
        is_array = isinstance(source, np.ndarray | Tensor)
        if is_array and sample_rate is None:
            raise AudioError(
                "an array does not say its rate; use Audio.load(array, sample_rate=...)"
            )
        if not is_array and sample_rate is not None:
            raise AudioError(
                "sample_rate is only for arrays; load first, then call .resample(rate)"
            )
        if isinstance(source, Audio):
            return source
        if isinstance(source, Tensor):
            array = source.detach().cpu()
            source = (array.float() if array.is_floating_point() else array).numpy()
        if isinstance(source, np.ndarray):
            assert sample_rate is not None
            name = f"the array of shape {source.shape}"
            return cls._checked(_mono_array(source, name), sample_rate, name)
        if isinstance(source, str | os.PathLike):
            path = Path(source)
            name = repr(str(path))
            try:
                is_file, is_there = path.is_file(), path.exists()
            except OSError as error:  # longer than any name, or in a folder that is closed
                raise AudioError(
                    f"{name} cannot be looked for ({error.strerror}); give the path of a recording"
                ) from error
            if not is_file:
                problem = "is not a file" if is_there else "does not exist"
                raise AudioError(f"{name} {problem}; give the path of a recording")
            return cls._checked(*_decode(str(path), name), name, path)
        if isinstance(source, bytes | bytearray | memoryview):
            name = f"the {len(source)} bytes given"
            return cls._checked(*_decode(io.BytesIO(source), name), name)
        if hasattr(source, "read"):
            name = f"file object {getattr(source, 'name', type(source).__name__)!r}"
            content = source.read()
            if not isinstance(content, bytes):
                raise AudioError(f"{name} is open in text mode; open it with mode 'rb'")
            return cls._checked(*_decode(io.BytesIO(content), name), name)
        raise AudioError(
            f"cannot load sound from a {type(source).__name__}; "
            "give a path, bytes, a binary file object, an array or a tensor"
        )

    @classmethod
    def _checked(
        cls, samples: NDArray[np.float32], rate: int, name: str, source: Path | None = None
    ) -> Audio:
        return cls(*_validated(torch.from_numpy(samples), rate, name), source)

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self) / self.sample_rate

    def __len__(self) -> int:
        """Number of samples."""
        return self.samples.shape[0]

    def __repr__(self) -> str:
        return f"Audio({self.seconds:.3f} s, {self.sample_rate} Hz)"

    def resample(self, rate: int) -> Audio:
        """Change the rate with soxr at high quality.

        Args:
            rate: new rate, Hz.

        Returns:
            ``round(S * rate / sample_rate)`` samples, at least one; itself if the rate is
            already right.

        Raises:
            AudioError: ``rate`` is absurd.
        """
        rate = _checked_rate(rate, "the requested rate")
        if rate == self.sample_rate:
            return self
        out = soxr.resample(self.samples.numpy(), self.sample_rate, rate)
        wanted = max(1, round(len(self) * rate / self.sample_rate))
        # Resamplers differ by a sample at the end; the length law must not.
        fixed = np.zeros(wanted, dtype=np.float32)
        fixed[: len(out)] = out[:wanted]
        return Audio(torch.from_numpy(fixed), rate)

    def clip(self, start: float = 0.0, end: float | None = None) -> Audio:
        """Cut out a part.

        Args:
            start: seconds from the beginning.
            end: seconds from the beginning; None means the end of the recording.

        Returns:
            A copy of the samples ``round(start * rate)`` to ``round(end * rate)``, the last one
            excluded.

        Raises:
            AudioError: the part is empty or reaches outside the recording.
        """
        stop = self.seconds if end is None else end
        # NaN fails every comparison and is refused with the rest.
        if not 0 <= start < stop <= self.seconds + 1 / self.sample_rate:
            raise AudioError(
                f"cannot cut {start} s to {stop} s out of a recording of {self.seconds:.3f} s; "
                "choose 0 <= start < end <= duration"
            )
        first, last = round(start * self.sample_rate), round(stop * self.sample_rate)
        part = self.samples[first:last]
        if not len(part):
            raise AudioError(f"no sample lies between {start} s and {stop} s; widen the part")
        return Audio(part.clone(), self.sample_rate)

    def require_sound(self, floor: float = 1e-4) -> Audio:
        """Refuse silence.

        Args:
            floor: largest deviation from the mean that still counts as silence (-80 dBFS).

        Returns:
            Itself.

        Raises:
            AudioError: nothing in the recording is louder than ``floor``.
        """
        if float((self.samples - self.samples.mean()).abs().max()) <= floor:
            raise AudioError(
                f"the recording of {self.seconds:.3f} s is silent throughout; "
                "check the microphone or give another recording"
            )
        return self

    def digest(self) -> str:
        """A name for exactly this sound, the same before it is saved without loss and after.

        Returns:
            SHA-256 of the rate and the samples as 16-bit PCM, 64 hexadecimal digits.
        """
        pcm = to_pcm(self.samples.numpy(), "PCM_16").astype("<i2", copy=False)
        return hashlib.sha256(f"{self.sample_rate} Hz\n".encode() + pcm.tobytes()).hexdigest()

    def save(self, path: str | Path, *, force: bool = False, subtype: str | None = None) -> Path:
        """Write a file whose format follows from its suffix; it appears complete or not at all.

        Values outside [-1, 1] are clipped by integer and lossy formats. 16-bit samples that were
        loaded from 16-bit samples are written back bit for bit.

        Args:
            path: where to write; ``.wav``, ``.flac``, ``.ogg``, ``.opus``, ``.mp3``, ``.aiff``…
            force: allow replacing an existing file.
            subtype: libsndfile's encoding, e.g. ``"PCM_24"`` or ``"FLOAT"``; None means 16-bit
                PCM where the format has it and the format's own default elsewhere.

        Returns:
            The path written.

        Raises:
            AudioError: unknown suffix or encoding, a rate that the format does not have, or the
                file cannot be written.
            OutputExistsError: the file exists and ``force`` is False.
        """
        path = Path(path)
        form, subtype = sound_format(path, subtype, self.sample_rate)
        encoded = to_pcm(self.samples.numpy(), subtype)

        def write(temporary: Path) -> None:
            with soundfile.SoundFile(
                temporary, "w", self.sample_rate, 1, subtype=subtype, format=form
            ) as file:
                for start in range(0, len(encoded), _WRITE_BLOCK):
                    file.write(encoded[start : start + _WRITE_BLOCK])

        try:
            return write_atomic(path, write, force=force)
        except OutputExistsError:
            raise
        except (OSError, soundfile.SoundFileError) as error:
            raise AudioError(
                f"cannot write {str(path)!r} ({form} {subtype}, {self.sample_rate} Hz): {error}"
            ) from error


def sound_format(
    path: str | Path, subtype: str | None = None, rate: int | None = None
) -> tuple[str, str]:
    """What :meth:`Audio.save` makes of a path, without writing anything.

    Args:
        path: of the file to write.
        subtype: libsndfile's encoding; None chooses as :meth:`Audio.save` does.
        rate: of the recording, Hz; None if it is not known yet.

    Returns:
        libsndfile's names of the format and the encoding.

    Raises:
        AudioError: unknown suffix, or a format that cannot hold the encoding or the rate.
    """
    path = Path(path)
    suffix = path.suffix[1:].upper()
    form = _SUFFIXES.get(suffix, suffix)
    if form not in soundfile.available_formats() or form == "RAW":
        raise AudioError(
            f"{str(path)!r}: no audio format has the suffix {path.suffix!r}; "
            "use .wav, .flac, .ogg, .opus or .mp3"
        )
    if subtype is None:
        default = "OPUS" if suffix == "OPUS" else soundfile.default_subtype(form)
        subtype = "PCM_16" if soundfile.check_format(form, "PCM_16") else default
    if not soundfile.check_format(form, subtype):
        raise AudioError(
            f"{str(path)!r}: {form} cannot hold {subtype}; "
            f"it holds {', '.join(soundfile.available_subtypes(form))}"
        )
    rates = _RATES.get(subtype, _RATES.get(form))
    if rate is not None and rates is not None and rate not in rates:
        nearest = rates[min(bisect.bisect(rates, rate), len(rates) - 1)]
        raise AudioError(
            f"{str(path)!r}: {form} {subtype} cannot hold {rate} Hz; resample the recording to "
            f"{nearest} Hz first, or write a .wav"
        )
    return form, subtype


def _checked_rate(rate: object, name: str) -> int:
    try:
        value = operator.index(rate)  # type: ignore[arg-type]
    except TypeError:
        value = int(rate) if isinstance(rate, float) and rate.is_integer() else -1
    if not MIN_SAMPLE_RATE <= value <= MAX_SAMPLE_RATE:
        raise AudioError(
            f"{name}: a sample rate of {rate!r} Hz makes no sense; it must be a whole number in "
            f"{MIN_SAMPLE_RATE}..{MAX_SAMPLE_RATE}"
        )
    return value


def _checked_length(frames: int, rate: int, name: str) -> None:
    if frames > MAX_SECONDS * rate:
        raise AudioError(
            f"{name}: {frames / rate / 3600:.1f} hours are too long; "
            f"cut it into parts of at most {MAX_SECONDS // 3600} hours"
        )


def _validated(samples: object, rate: object, name: str) -> tuple[Tensor, int]:
    if not isinstance(samples, Tensor) or samples.dim() != 1 or not samples.is_floating_point():
        kind = (
            f"{samples.dtype} of shape {tuple(samples.shape)}"
            if isinstance(samples, Tensor)
            else type(samples).__name__
        )
        raise AudioError(
            f"{name}: expected a one-dimensional floating tensor, got {kind}; "
            "use Audio.load for anything else"
        )
    value = _checked_rate(rate, name)
    if not samples.numel():
        raise AudioError(f"{name}: there are no samples; give a recording that is not empty")
    _checked_length(samples.numel(), value, name)
    samples = samples.detach().to("cpu", torch.float32)
    # One reduction answers both questions: NaN and Inf survive in the largest magnitude.
    peak = float(samples.abs().max())
    if not np.isfinite(peak):
        bad = int((~samples.isfinite()).sum())
        raise AudioError(
            f"{name}: {bad} of {samples.numel()} samples are NaN or infinite; "
            "repair the recording before using it"
        )
    if peak > _MAX_AMPLITUDE:
        raise AudioError(
            f"{name}: samples reach {peak:g} where about 1 is expected; "
            "divide integer samples by their full scale, e.g. 32768"
        )
    return samples, value


def _mono_array(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    if array.dtype in (np.int16, np.int32, np.int8):
        scaled = array.astype(np.float64) / -float(np.iinfo(array.dtype).min)
    elif array.dtype == np.uint8:
        scaled = (array.astype(np.float64) - 128) / 128
    elif np.issubdtype(array.dtype, np.floating):
        scaled = array
    else:
        raise AudioError(
            f"{name}: cannot tell the full scale of {array.dtype} samples; "
            "convert them to int16 or to floats in [-1, 1]"
        )
    if scaled.ndim == 2 and scaled.size:
        rows, columns = scaled.shape
        if rows == columns or min(rows, columns) > _MAX_CHANNELS:
            raise AudioError(
                f"{name}: cannot tell the channels from the samples; mix it down to one dimension"
            )
        scaled = scaled.mean(axis=0 if rows < columns else 1)
    elif scaled.ndim != 1 and scaled.size:
        raise AudioError(f"{name}: expected samples or samples and channels; reshape it")
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused later
        return np.array(scaled.reshape(-1), dtype=np.float32)


def _decode(file: str | io.BytesIO, name: str) -> tuple[NDArray[np.float32], int]:
    """Decode block by block, so that a long multi-channel file is never held unmixed."""
    blocks: list[NDArray[np.float32]] = []
    total = 0
    try:
        with soundfile.SoundFile(file) as sound:
            rate = _checked_rate(sound.samplerate, name)
            while True:
                block = sound.read(_BLOCK, dtype="float32", always_2d=True)
                blocks.append(block.mean(axis=1, dtype=np.float32))
                total += len(block)
                _checked_length(total, rate, name)
                if len(block) < _BLOCK:
                    return np.concatenate(blocks), rate
    except (soundfile.SoundFileError, TypeError, OSError) as error:
        reason = getattr(error, "error_string", error)
        # TypeError: soundfile wants more arguments for headerless ".raw" files.
        raise AudioError(
            f"{name} cannot be decoded as sound ({reason}); "
            "give a WAV, FLAC, OGG, MP3 or another file that libsndfile reads"
        ) from error


def to_pcm(samples: NDArray[np.float32], subtype: str) -> NDArray[Any]:
    """Quantise with the scale that decoding divides by; libsndfile's own is one step smaller.

    Args:
        samples: ``[S]``; values outside [-1, 1] are clipped.
        subtype: libsndfile's encoding.

    Returns:
        ``[S]`` integers at the top of their type; the samples themselves for other encodings than
        ``PCM_16``, ``PCM_24`` and ``PCM_32``. More than 16 bits, rounded to 16, are the 16 bits of
        the samples themselves, so :meth:`Audio.digest` is the same before and after.
    """
    if subtype not in _PCM:
        return samples
    kind, bits = _PCM[subtype]
    exact = samples.astype(np.float64)
    steps = _rounded(exact, bits)
    if bits > 16:
        # What was rounded onto the middle between two values of 16 bits goes a step to its side.
        steps += _rounded(exact, 16) - _rounded(steps / 2.0 ** (bits - 1), 16)
    # libsndfile reads integers from the top of their type.
    return (steps << (np.iinfo(kind).bits - bits)).astype(kind)


def _rounded(samples: NDArray[np.float64], bits: int) -> NDArray[np.int64]:
    full = 2.0 ** (bits - 1)
    return np.clip(np.rint(samples * full), -full, full - 1).astype(np.int64)
