"""Audio: what comes in is checked, what goes out is whole."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from stepaudio.audio import MAX_SECONDS, Audio, sound_format
from stepaudio.errors import AudioError, OutputExistsError, StepAudioError


def tone(rate: int = 16000, seconds: float = 0.5, hz: float = 220.0) -> np.ndarray:
    time = np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * hz * time)).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int, **kwargs: str) -> Path:
    soundfile.write(path, samples, rate, **kwargs)
    return path


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000])
def test_load_keeps_rate_and_length(tmp_path: Path, rate: int) -> None:
    audio = Audio.load(write(tmp_path / "a.wav", tone(rate), rate))
    assert audio.sample_rate == rate
    assert len(audio) == rate // 2
    assert audio.seconds == pytest.approx(0.5, abs=1 / rate)
    assert audio.samples.dtype == torch.float32


@pytest.mark.parametrize(
    ("suffix", "subtype", "worst"),
    [
        ("wav", "PCM_U8", 2**-7),
        ("wav", "PCM_16", 2**-14),
        ("wav", "PCM_24", 2**-22),
        ("wav", "PCM_32", 2**-22),
        ("wav", "FLOAT", 0.0),
        ("wav", "DOUBLE", 0.0),
        ("flac", "PCM_16", 2**-14),
        ("flac", "PCM_24", 2**-22),
        ("aiff", "PCM_16", 2**-14),
        ("ogg", "VORBIS", 0.05),
        ("mp3", "MPEG_LAYER_III", 0.2),
    ],
)
def test_load_every_encoding(tmp_path: Path, suffix: str, subtype: str, worst: float) -> None:
    path = write(tmp_path / f"a.{suffix}", tone(), 16000, subtype=subtype)
    audio = Audio.load(path)
    assert len(audio) == 8000
    assert (audio.samples - torch.from_numpy(tone())).abs().max() <= worst


def test_stereo_file_is_averaged(tmp_path: Path) -> None:
    stereo = np.stack([tone(8000), -tone(8000) / 2], axis=1)
    audio = Audio.load(write(tmp_path / "s.wav", stereo, 8000, subtype="FLOAT"))
    assert torch.allclose(audio.samples, torch.from_numpy(tone(8000)) / 4, atol=1e-7)


def test_long_stereo_file_is_read_in_blocks(tmp_path: Path) -> None:
    samples = np.stack([tone(16000, 70), tone(16000, 70)], axis=1)
    audio = Audio.load(write(tmp_path / "s.wav", samples, 16000, subtype="FLOAT"))
    assert torch.equal(audio.samples, torch.from_numpy(tone(16000, 70)))


@pytest.mark.parametrize("axis", [0, 1])
def test_two_dimensional_arrays_work_either_way(axis: int) -> None:
    array = np.stack([tone(), 3 * tone() / 4], axis=axis)
    audio = Audio.load(array, sample_rate=16000)
    assert torch.allclose(audio.samples, torch.from_numpy(tone()) * 0.875)


def test_load_path_string_bytes_file_object_and_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "ünï 声.wav", tone(), 16000, subtype="FLOAT")
    expected = torch.from_numpy(tone())
    content = path.read_bytes()
    sources = [path, str(path), content, bytearray(content), memoryview(content)]
    for source in [*sources, io.BytesIO(content)]:
        assert torch.equal(Audio.load(source).samples, expected)
    with path.open("rb") as file:
        audio = Audio.load(file)
    assert torch.equal(audio.samples, expected)
    assert Audio.load(audio) is audio


def test_file_object_is_read_from_where_it_stands(tmp_path: Path) -> None:
    content = write(tmp_path / "a.wav", tone(), 16000).read_bytes()
    file = io.BytesIO(b"junk" + content)
    file.seek(4)
    assert len(Audio.load(file)) == 8000


@pytest.mark.parametrize(
    ("dtype", "low"), [(np.int8, -128), (np.int16, -32768), (np.int32, -(2**31)), (np.uint8, 0)]
)
def test_integer_arrays_are_scaled(dtype: type, low: int) -> None:
    half = low // 2 if low else 64
    audio = Audio.load(np.array([low, half], dtype=dtype), sample_rate=8000)
    assert audio.samples.tolist() == [-1.0, -0.5]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floating_tensors_become_float32(dtype: torch.dtype) -> None:
    samples = torch.tensor([0.5, -0.25], dtype=dtype, requires_grad=True)
    for audio in (Audio(samples, 8000), Audio.load(samples, sample_rate=8000)):
        assert audio.samples.tolist() == [0.5, -0.25]
        assert audio.samples.dtype == torch.float32
        assert not audio.samples.requires_grad


def test_loaded_audio_does_not_share_memory_with_the_array() -> None:
    array = tone()
    audio = Audio.load(array, sample_rate=16000)
    array[:] = 9
    assert audio.samples.abs().max() <= 0.5
    array.setflags(write=False)
    assert len(Audio.load(array[::-1], sample_rate=16000)) == 8000


@pytest.mark.parametrize(
    ("source", "rate", "says"),
    [
        (tone(), None, "use Audio.load"),
        (b"abc", 16000, "resample"),
        (np.zeros(0, np.float32), 16000, "no samples"),
        (np.zeros((0, 2), np.float32), 16000, "no samples"),
        (np.array([0.0, np.nan]), 16000, "1 of 2 samples are NaN"),
        (np.array([0.0, np.inf]), 16000, "NaN or infinite"),
        (np.array([1e300, 0.0]), 16000, "infinite"),
        (np.array([0.0, 30000.0]), 16000, "32768"),
        (np.array([1, 2]), 16000, "int64"),
        (np.array([True]), 16000, "bool"),
        (np.array([1j]), 16000, "complex"),
        (np.zeros((2, 2, 2)), 16000, "reshape"),
        (np.zeros((64, 64)), 16000, "mix it down"),
        (np.zeros((40, 64)), 16000, "mix it down"),
        (np.array(0.5), 16000, "reshape"),
        (tone(), 0, "sample rate of 0"),
        (tone(), -8000, "sample rate"),
        (tone(), 999, "sample rate of 999"),
        (tone(), 768_001, "sample rate"),
        (tone(), 16000.5, "sample rate"),
        (tone(), "16000", "sample rate"),
        (b"", None, "decoded"),
        (b"RIFF", None, "decoded"),
        (io.StringIO("hello"), None, "rb"),
        ([0.1, 0.2], None, "list"),
        (None, None, "NoneType"),
    ],
)
def test_unusable_sources_are_refused(source: object, rate: object, says: str) -> None:
    with pytest.raises(AudioError, match=says):
        Audio.load(source, sample_rate=rate)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "samples", [torch.zeros(2, 2), torch.zeros(3, dtype=torch.int16), torch.zeros(0), [0.0]]
)
def test_constructor_is_strict(samples: object) -> None:
    with pytest.raises(AudioError):
        Audio(samples, 16000)  # type: ignore[arg-type]


def test_whole_float_and_numpy_rates_are_fine() -> None:
    assert Audio(torch.zeros(4), 16000.0).sample_rate == 16000  # type: ignore[arg-type]
    rate = Audio(torch.zeros(4), np.int64(8000)).sample_rate  # type: ignore[arg-type]
    assert type(rate) is int


def test_absurd_length_is_refused() -> None:
    with pytest.raises(AudioError, match="hours are too long"):
        Audio(torch.zeros(1).expand(MAX_SECONDS * 1000 + 1), 1000)


def test_files_that_cannot_be_read_name_the_path(tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("this is not sound\n" * 50)
    empty = write(tmp_path / "empty.wav", np.zeros(0, np.float32), 16000)
    nan = write(tmp_path / "nan.wav", np.array([np.nan, 0]), 16000, subtype="FLOAT")
    raw = tmp_path / "samples.raw"
    raw.write_bytes(bytes(100))
    sentence = tmp_path / ("happy " * 60)
    for path in (text, empty, nan, raw, tmp_path, tmp_path / "missing.wav", sentence):
        with pytest.raises(AudioError) as caught:
            Audio.load(path)
        assert path.name in str(caught.value)
        assert isinstance(caught.value, StepAudioError)


def test_header_with_absurd_rate_is_refused(tmp_path: Path) -> None:
    for rate in (0, 10, 2_000_000):
        content = bytearray(write(tmp_path / f"{rate}.wav", tone(), 16000).read_bytes())
        content[24:28] = rate.to_bytes(4, "little")
        with pytest.raises(AudioError):
            Audio.load(bytes(content))


def test_truncated_wav_gives_what_is_there(tmp_path: Path) -> None:
    content = write(tmp_path / "a.wav", tone(), 16000).read_bytes()
    audio = Audio.load(content[: 44 + 2001])
    assert len(audio) == 1000
    assert torch.equal(audio.samples, Audio.load(content).samples[:1000])
    for cut in (20, 44):
        with pytest.raises(AudioError):
            Audio.load(content[:cut])


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
@pytest.mark.parametrize("part", [0.01, 0.3, 0.7, 0.99])
def test_truncated_compressed_file_gives_its_beginning_or_an_error(
    tmp_path: Path, suffix: str, part: float
) -> None:
    content = write(tmp_path / f"a.{suffix}", tone(16000, 3), 16000).read_bytes()
    try:
        audio = Audio.load(content[: int(part * len(content))])
    except AudioError:
        return
    assert len(audio) <= 48000 + 2304
    short = min(len(audio), 48000) - 2304
    if short > 0:
        assert (audio.samples[:short] - torch.from_numpy(tone(16000, 3))[:short]).abs().max() < 0.2


@pytest.mark.parametrize("rate", [8000, 24000, 44100, 192000])
def test_resample_keeps_the_tone(rate: int) -> None:
    audio = Audio.load(tone(16000, 1.0), sample_rate=16000).resample(rate)
    assert (len(audio), audio.sample_rate) == (rate, rate)
    middle = slice(rate // 4, 3 * rate // 4)
    assert np.abs(audio.samples.numpy()[middle] - tone(rate, 1.0)[middle]).max() < 1e-3


def test_resample_to_the_same_rate_is_free_and_bad_rates_are_refused() -> None:
    audio = Audio.load(tone(), sample_rate=16000)
    assert audio.resample(16000) is audio
    for rate in (0, 100, 10**9):
        with pytest.raises(AudioError, match="requested rate"):
            audio.resample(rate)
    assert len(Audio(torch.zeros(1), 768_000).resample(1000)) == 1


def test_clip_cuts_in_seconds() -> None:
    audio = Audio.load(tone(), sample_rate=16000)
    assert torch.equal(audio.clip(0.1, 0.2).samples, audio.samples[1600:3200])
    assert len(audio.clip(0.25)) == 4000
    assert len(audio.clip()) == len(audio)
    audio.clip().samples.zero_()
    assert audio.samples.abs().max() > 0


@pytest.mark.parametrize(
    ("start", "end"),
    [(-0.1, 0.2), (0.2, 0.2), (0.3, 0.2), (0.5, None), (0, 0.6), (float("nan"), 0.2), (0, 1e-6)],
)
def test_clip_refuses_nonsense(start: float, end: float | None) -> None:
    with pytest.raises(AudioError):
        Audio.load(tone(), sample_rate=16000).clip(start, end)


def test_require_sound() -> None:
    audio = Audio.load(tone(), sample_rate=16000)
    assert audio.require_sound() is audio
    for silence in (torch.zeros(100), torch.full((100,), 0.3), torch.zeros(1)):
        with pytest.raises(AudioError, match="silent"):
            Audio(silence, 16000).require_sound()


@pytest.mark.parametrize("name", ["a.wav", "a.WAV", "a.flac", "a.ogg", "a.oga", "a.mp3", "a.opus"])
def test_save_format_follows_the_suffix(tmp_path: Path, name: str) -> None:
    audio = Audio.load(tone(), sample_rate=16000)
    path = audio.save(tmp_path / "new folder" / "声" / name)
    again = Audio.load(path)
    assert (again.sample_rate, len(again)) == (16000, 8000)
    assert soundfile.info(path).subtype == {
        "ogg": "VORBIS",
        "oga": "VORBIS",
        "mp3": "MPEG_LAYER_III",
        "opus": "OPUS",
    }.get(path.suffix[1:], "PCM_16")


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff"])
def test_sixteen_bit_samples_survive_bit_for_bit(tmp_path: Path, suffix: str) -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    path = Audio.load(every, sample_rate=16000).save(tmp_path / f"a.{suffix}")
    written, _ = soundfile.read(path, dtype="int16")
    assert np.array_equal(written, every)


def test_loud_samples_are_clipped_not_wrapped(tmp_path: Path) -> None:
    loud = Audio(torch.tensor([1.5, -1.5, 1.0, -1.0]), 16000)
    for subtype in ("PCM_16", "PCM_24", "PCM_32", "PCM_U8"):
        path = loud.save(tmp_path / f"{subtype}.wav", subtype=subtype)
        assert Audio.load(path).samples.tolist() == pytest.approx([1, -1, 1, -1], abs=0.01)
    exact = Audio.load(loud.save(tmp_path / "float.wav", subtype="FLOAT"))
    assert torch.equal(exact.samples, loud.samples)


def test_save_does_not_overwrite_unless_forced(tmp_path: Path) -> None:
    audio = Audio.load(tone(), sample_rate=16000)
    path = audio.save(tmp_path / "a.wav")
    before = path.read_bytes()
    with pytest.raises(OutputExistsError, match=r"a\.wav"):
        audio.clip(0, 0.1).save(path)
    assert path.read_bytes() == before
    audio.clip(0, 0.1).save(path, force=True)
    assert len(Audio.load(path)) == 1600


@pytest.mark.parametrize(
    ("name", "subtype", "says"),
    [
        ("a.txt", None, "suffix '.txt'"),
        ("a", None, "suffix ''"),
        ("a.raw", None, "suffix"),
        ("a.flac", "FLOAT", "FLAC cannot hold FLOAT"),
        ("a.wav", "NONSENSE", "NONSENSE"),
    ],
)
def test_save_refuses_unknown_formats(
    tmp_path: Path, name: str, subtype: str | None, says: str
) -> None:
    with pytest.raises(AudioError, match=says):
        Audio.load(tone(), sample_rate=16000).save(tmp_path / name, subtype=subtype)
    assert not list(tmp_path.iterdir())


def test_failed_save_leaves_nothing_behind(tmp_path: Path) -> None:
    odd_rate = Audio.load(tone(), sample_rate=11025)
    with pytest.raises(AudioError, match="11025 Hz"):
        odd_rate.save(tmp_path / "a.opus")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "rate", "nearest"),
    [
        ("a.opus", 44_100, 48_000),
        ("a.opus", 1_000, 8_000),
        ("a.mp3", 192_000, 48_000),
        ("a.mp3", 23_000, 24_000),
        ("a.ogg", 200_001, 200_000),
        ("a.flac", 700_001, 655_350),
    ],
)
def test_rates_that_a_format_does_not_have(
    tmp_path: Path, name: str, rate: int, nearest: int
) -> None:
    audio = Audio.load(tone(), sample_rate=rate)
    with pytest.raises(AudioError, match=f"{name}.* cannot hold {rate} Hz; .* {nearest} Hz first"):
        audio.save(tmp_path / name)
    assert sound_format(name) == sound_format(name, rate=nearest)
    audio.resample(nearest).save(tmp_path / name)
    audio.save(tmp_path / "a.wav")


def test_unwritable_places_give_a_typed_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = Audio.load(tone(), sample_rate=16000)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AudioError, match="cannot write"):
        audio.save(tmp_path / "file" / "a.wav")

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # The superuser may write anywhere, so a read-only folder is acted out.
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(AudioError, match="Permission denied"):
        audio.save(tmp_path / "a.wav")


def test_repr_is_short() -> None:
    assert repr(Audio(torch.zeros(24000), 24000)) == "Audio(1.000 s, 24000 Hz)"
