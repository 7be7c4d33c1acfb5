from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stepaudio.audio import Audio
from stepaudio.errors import MissingExtraError
from stepaudio.evaluation.contracts import Metric, Sample
from stepaudio.evaluation.quality import DistillMos, Dnsmos
from stepaudio.evaluation.registry import MetricSettings, load_metrics

LOUD = Audio(torch.full((4800,), 1.5), 48000)
SILENT = Audio(torch.zeros(4800), 48000)
DEMO = Path(__file__).parents[2] / "docs" / "audio" / "demo.flac"


def test_dnsmos_hears_clipped_sound_at_16_khz(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(samples: Any, sr: int) -> dict[str, Any]:
        assert (len(samples), sr) == (1600, 16000)
        assert np.abs(samples).max() <= 1
        return {f"{k}_mos": np.float64(i) for i, k in enumerate(("sig", "bak", "ovrl", "p808"))}

    monkeypatch.setitem(sys.modules, "speechmos", ModuleType("speechmos"))
    monkeypatch.setitem(sys.modules, "speechmos.dnsmos", SimpleNamespace(run=run))
    metric = Dnsmos()
    assert isinstance(metric, Metric)
    loud, silent = metric.measure([Sample("1", LOUD), Sample("2", SILENT)])
    assert loud == {"sig": 0.0, "bak": 1.0, "ovrl": 2.0, "p808": 3.0}
    assert silent == {"sig": None, "bak": None, "ovrl": None, "p808": None}


def test_distillmos_hears_a_batch_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Network(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert x.shape == (1, 1600)
            assert not self.training
            return torch.tensor([[3.25]])

    fake = SimpleNamespace(ConvTransformerSQAModel=Network)
    monkeypatch.setitem(sys.modules, "distillmos", fake)
    metric = DistillMos()
    assert isinstance(metric, Metric)
    rows = metric.measure([Sample("1", LOUD), Sample("2", SILENT)])
    assert rows == [{"mos": 3.25}, {"mos": None}]


def test_distillmos_needs_no_torchaudio_and_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        "import torch, torchaudio",
        "class ConvTransformerSQAModel(torch.nn.Identity):",
        "    def __init__(self):",
        "        super().__init__()",
        "        print('weights loaded from', torchaudio.__name__)",
    ]
    (tmp_path / "distillmos.py").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "distillmos", raising=False)
    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    assert DistillMos().model.name == "distillmos"
    assert capsys.readouterr().out == ""
    # Whoever looks for the real one later finds that, or that it is not there.
    assert "torchaudio" not in sys.modules
    del sys.modules["distillmos"]


def test_a_distillmos_that_cannot_be_loaded_is_missing_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "distillmos.py").write_text("raise OSError('libsox.so: not there')\n", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "distillmos", raising=False)
    found, missing = load_metrics(["distillmos"], MetricSettings())
    assert found == []
    assert "libsox.so: not there" in missing["distillmos"]
    assert "torchaudio" not in sys.modules


@pytest.mark.parametrize(
    ("make", "module"), [(Dnsmos, "speechmos.dnsmos"), (DistillMos, "distillmos")]
)
def test_missing_packages_are_named(
    make: type, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=module.partition(".")[0]):
        make()


def test_real_dnsmos_prefers_clean_speech() -> None:
    pytest.importorskip("speechmos.dnsmos")
    audio = Audio.load(DEMO).resample(16000)
    noise = torch.randn(len(audio), generator=torch.Generator().manual_seed(0)) * 0.05
    clean, noisy = Dnsmos().measure(
        [Sample("1", audio), Sample("2", Audio(audio.samples + noise, 16000))]
    )
    assert clean["bak"] is not None
    assert noisy["bak"] is not None
    assert clean["bak"] > noisy["bak"] + 0.5


def test_real_distillmos_prefers_clean_speech() -> None:
    pytest.importorskip("xls_r_sqa")  # comes with distillmos, and needs no torchaudio itself
    audio = Audio.load(DEMO).resample(16000)
    noise = torch.randn(len(audio), generator=torch.Generator().manual_seed(0)) * 0.05
    clean, noisy = DistillMos().measure(
        [Sample("1", audio), Sample("2", Audio(audio.samples + noise, 16000))]
    )
    assert clean["mos"] is not None
    assert noisy["mos"] is not None
    assert 1 <= noisy["mos"] < clean["mos"] <= 5.2
