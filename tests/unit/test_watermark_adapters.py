"""AudioSeal and Perth behind the interface of watermarkers, with stand-ins for their packages."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import debug_parts as debug
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from stepaudio import Audio
from stepaudio.errors import MissingExtraError, WatermarkError
from stepaudio.safety.watermark import Watermarker, mark, payload_of
from stepaudio.safety.watermark_audioseal import AudioSealWatermarker
from stepaudio.safety.watermark_perth import PerthWatermarker

RATE = 24000
PAYLOAD = 0xBEE1
TONES = 1000.0 + 250.0 * torch.arange(17)  # one says "marked", sixteen say the bits


def tones(count: int) -> Tensor:
    """``[17, S]`` at 16 kHz."""
    return torch.sin(2 * torch.pi * TONES[:, None] * torch.arange(count) / 16000)


class Generator(torch.nn.Module):
    """Marks by a faint tone, and a fainter one for each bit: up for 1, down for 0."""

    def __init__(self) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(1))

    def get_watermark(self, x: Tensor, *, message: Tensor) -> Tensor:
        assert x.shape[:2] == (1, 1)
        assert message.shape == (1, 16)
        signs = torch.cat([torch.ones(1), message[0] * 2.0 - 1])
        return (self.level * signs @ tones(x.shape[-1]))[None, None]


class Detector(torch.nn.Module):
    """Hears the tones by correlation, 50 ms at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        count = x.shape[-1]
        heard = x[0] * tones(count) * 2 / self.level  # [17, S]
        steps = torch.nn.functional.pad(heard, (0, -count % 800)).unflatten(1, (-1, 800)).mean(-1)
        marked = (steps[0] > 0.5).float().repeat_interleave(800)[:count]
        message = torch.sigmoid(heard[1:].mean(-1))
        return torch.stack([1 - marked, marked])[None], message[None]


@pytest.fixture
def weights(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "generator.pth", tmp_path / "detector.safetensors"
    torch.save({"model": {"level": torch.full((1,), 0.01)}}, paths[0])
    safetensors.torch.save_file({"level": torch.full((1,), 0.01)}, paths[1])
    return paths


@pytest.fixture
def audioseal(monkeypatch: pytest.MonkeyPatch) -> None:
    package, builder, loader = (
        ModuleType(name) for name in ("audioseal", "audioseal.builder", "audioseal.loader")
    )
    cards = {"audioseal_wm_16bits": "generator", "audioseal_detector_16bits": "detector"}
    seal = SimpleNamespace(parse_config=lambda config, config_type: (config, config_type))
    package.__dict__.update(builder=builder, loader=loader)
    builder.__dict__.update(
        AudioSealWMConfig="generator",
        AudioSealDetectorConfig="detector",
        create_generator=lambda made: {("generator", "generator"): Generator}[made](),
        create_detector=lambda made: {("detector", "detector"): Detector}[made](),
    )
    loader.__dict__.update(
        AudioSeal=seal,
        load_local_model_config=cards.__getitem__,
        convert_state_dict_for_scriptable_model=dict,
        load_state_dict=lambda model, state_dict: model.load_state_dict(state_dict),
    )
    settings = {
        "omegaconf": ("DictConfig", "ListConfig"),
        "omegaconf.base": ("ContainerMetadata", "Metadata"),
        "omegaconf.nodes": ("AnyNode", "StringNode", "IntegerNode", "FloatNode", "BooleanNode"),
    }
    for name, classes in settings.items():
        module = ModuleType(name)
        module.__dict__.update({one: type(one, (), {"__module__": name}) for one in classes})
        monkeypatch.setitem(sys.modules, name, module)
    omegaconf = sys.modules["omegaconf"]
    omegaconf.__dict__.update(
        base=sys.modules["omegaconf.base"], nodes=sys.modules["omegaconf.nodes"]
    )
    for module in (package, builder, loader):
        monkeypatch.setitem(sys.modules, module.__name__, module)


class Implicit:
    """Perth's shapes: a tone of 1500 Hz at 32 kHz, the last samples lost."""

    def __init__(self) -> None:
        self.perth_net = SimpleNamespace(hp=SimpleNamespace(sample_rate=32000))

    def tone(self, count: int) -> np.ndarray:
        return np.sin(2 * np.pi * 1500 * np.arange(count) / 32000).astype(np.float32)

    def apply_watermark(self, signal: np.ndarray, sample_rate: int) -> np.ndarray:
        assert sample_rate == 32000
        kept = len(signal) // 320 * 320
        return (signal + 0.02 * self.tone(len(signal)))[:kept]

    def get_watermark(
        self, wm_signal: np.ndarray, sample_rate: int, round: bool = True
    ) -> np.ndarray:
        assert sample_rate == 32000
        if not wm_signal.any():
            return np.float32("nan")  # as the real one does
        count = len(wm_signal) // 64 * 64
        phase = np.exp(2j * np.pi * 1500 * np.arange(count) / 32000)
        heard = abs(wm_signal[:count] @ phase) * 2 / count / 0.02
        return np.asarray(np.round(heard) if round else min(heard, 1.0))


@pytest.fixture
def perth(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    package = ModuleType("perth")
    package.__dict__.update(PerthImplicitWatermarker=Implicit)
    monkeypatch.setitem(sys.modules, "perth", package)
    return package


@pytest.fixture(params=["audioseal", "perth"])
def marker(request: pytest.FixtureRequest) -> Watermarker:
    request.getfixturevalue(request.param)
    if request.param == "perth":
        return PerthWatermarker()
    return AudioSealWatermarker(*request.getfixturevalue("weights"))


def quiet(seconds: float, rate: int = RATE) -> Audio:
    """Sound that is low-passed nowhere and quieter than the marks of the stand-ins."""
    return Audio(0.01 * debug.speech(seconds, rate, seed=1).samples, rate)


def test_what_is_marked_is_found(marker: Watermarker) -> None:
    sound = quiet(6.0)
    payload = PAYLOAD & ((1 << marker.payload_bits) - 1)
    marked = marker.embed(sound, payload)
    heard = marker.detect(marked)
    assert heard.found
    assert heard.payload == (payload if marker.payload_bits else None)
    ((start, end),) = marker.localise(marked)
    assert (start, end) == (pytest.approx(0, abs=0.1), pytest.approx(6.0, abs=0.1))
    plain = marker.detect(sound)
    assert not plain.found
    assert plain.payload is None
    assert marker.localise(sound) == ()


def test_the_sound_above_the_band_of_the_network_survives(marker: Watermarker) -> None:
    sound = quiet(3.0, 48000)
    difference = marker.embed(sound, 0).samples - sound.samples
    spectrum = torch.fft.rfft(difference.double()).abs() ** 2
    assert spectrum[: (8000 * 3)].sum() / spectrum.sum() > 0.999
    assert difference.norm() > 0


def test_pieces_do_not_matter(marker: Watermarker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepaudio.safety.watermark_blocks._BLOCK", 1.5)
    sound = quiet(4.0)
    whole = marker.embed(sound, 0, spans=[(1.0, 3.2)]).samples
    stream = marker.stream(0, RATE, spans=[(1.0, 3.2)])
    pieces = [stream.push(piece) for piece in sound.samples.split(7001)]
    assert any(len(piece) for piece in pieces)  # nothing waits for the end
    assert torch.equal(torch.cat([*pieces, stream.finish()]), whole)
    changed = (whole != sound.samples).nonzero().flatten()
    assert changed.min() >= 1.0 * RATE
    assert changed.max() < 3.2 * RATE
    assert len(changed) > 2.1 * RATE


def test_pipelines_give_as_many_bits_as_are_carried(marker: Watermarker) -> None:
    sound = quiet(2.0)
    carried = payload_of(7, marker.payload_bits)
    assert carried == payload_of(7) & (2**marker.payload_bits - 1)
    (through,) = mark([sound.samples], marker, 7, RATE)
    assert torch.equal(through, marker.embed(sound, carried).samples)
    with pytest.raises(WatermarkError, match=r"cannot be embedded; give"):
        marker.stream(1 << marker.payload_bits, RATE)
    with pytest.raises(WatermarkError, match="too narrow"):
        marker.stream(0, 4000)


def test_nothing_to_hear_is_no_error(marker: Watermarker) -> None:
    for samples in (torch.zeros(1), torch.zeros(3 * RATE), torch.full((50,), 0.1)):
        audio = Audio(samples, RATE)
        assert len(marker.embed(audio, 0)) == len(audio)
        assert not marker.detect(Audio(torch.zeros_like(samples), RATE)).found
    silence = Audio(torch.zeros(RATE), RATE)
    assert torch.equal(marker.embed(silence, 0).samples, silence.samples)


@pytest.mark.usefixtures("audioseal")
def test_audioseal_finds_and_reads_a_part(weights: tuple[Path, Path]) -> None:
    marker = AudioSealWatermarker(*weights)
    part = marker.embed(quiet(8.0), PAYLOAD, spans=[(2.0, 5.0)])
    ((start, end),) = marker.localise(part)
    assert start == pytest.approx(2.0, abs=0.1)
    assert end == pytest.approx(5.0, abs=0.1)
    heard = marker.detect(part)
    assert heard.payload == PAYLOAD
    assert heard.payload_score > 0.99
    # Bits that hardly speak are not given.
    with torch.no_grad():
        marker._detector.level.mul_(40)
        marker._detector.forward = _all_marked(marker._detector)
    unsure = marker.detect(part)
    assert unsure.found
    assert unsure.payload is None


def _all_marked(detector: Any) -> Any:
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        result, message = Detector.forward(detector, x)
        return torch.stack([torch.zeros_like(result[0, 0]), torch.ones_like(result[0, 0])])[
            None
        ], message

    return forward


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit",)


@pytest.mark.usefixtures("audioseal")
def test_audioseal_weights_that_cannot_be_used_are_refused(
    weights: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(WatermarkError, match="download the weights first"):
        AudioSealWatermarker(tmp_path / "none.pth", weights[1])
    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WatermarkError, match="more than weights"):
        AudioSealWatermarker(tmp_path / "evil.pth", weights[1])
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WatermarkError, match="does not hold the weights"):
        AudioSealWatermarker(tmp_path / "other.pth", weights[1])
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    with pytest.raises(WatermarkError, match="damaged"):
        AudioSealWatermarker(weights[0], tmp_path / "cut.safetensors")
    with pytest.raises(WatermarkError, match="share"):
        AudioSealWatermarker(*weights, threshold=2.0)


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch, perth: ModuleType) -> None:
    monkeypatch.setitem(sys.modules, "audioseal", None)
    with pytest.raises(MissingExtraError, match=r"stepaudio\[audioseal\]"):
        AudioSealWatermarker("generator.pth", "detector.pth")
    monkeypatch.setattr(perth, "PerthImplicitWatermarker", None)
    with pytest.raises(MissingExtraError, match=r"torchaudio.*stepaudio\[perth\]"):
        PerthWatermarker()
    monkeypatch.setitem(sys.modules, "perth", None)
    with pytest.raises(MissingExtraError, match=r"stepaudio\[perth\]"):
        PerthWatermarker()


def test_a_mark_that_is_not_finite_is_refused(
    perth: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Implicit, "tone", lambda self, count: np.full(count, np.nan, np.float32))
    with pytest.raises(WatermarkError, match="not finite"):
        PerthWatermarker().embed(quiet(1.0), 0)


def test_the_real_perth_finds_its_mark() -> None:
    pytest.importorskip("librosa")
    pytest.importorskip("torchaudio")
    pytest.importorskip("perth")
    with contextlib.redirect_stdout(None):
        marker = PerthWatermarker()
    sound = Audio.load(Path(__file__).parents[2] / "docs/audio/demo.flac").resample(RATE)
    assert marker.detect(marker.embed(sound, 0)).found
    assert not marker.detect(sound).found


def test_the_real_audioseal_takes_its_shapes(tmp_path: Path) -> None:
    """With networks that were never trained: files, rates, lengths and shapes fit."""
    pytest.importorskip("audioseal")
    from audioseal import builder, loader

    torch.manual_seed(0)
    paths = tmp_path / "generator.pth", tmp_path / "detector.pth"
    for path, card, config, make in (
        (paths[0], "audioseal_wm_16bits", builder.AudioSealWMConfig, builder.create_generator),
        (
            paths[1],
            "audioseal_detector_16bits",
            builder.AudioSealDetectorConfig,
            builder.create_detector,
        ),
    ):
        card_settings = loader.load_local_model_config(card)
        network = make(loader.AudioSeal.parse_config(card_settings, config_type=config))
        # As published: named as before the package wrapped its convolutions, with the settings.
        state = {name.replace(".inner_conv.", "."): t for name, t in network.state_dict().items()}
        torch.save({"model": state, "xp.cfg": card_settings}, path)
    marker = AudioSealWatermarker(*paths)
    sound = quiet(1.2)
    marked = marker.embed(sound, PAYLOAD)
    assert len(marked) == len(sound)
    assert not torch.equal(marked.samples, sound.samples)
    assert 0 <= marker.detect(marked).score <= 1
