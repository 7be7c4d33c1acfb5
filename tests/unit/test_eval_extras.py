from __future__ import annotations

import importlib.metadata
import sys
from typing import Any

import pytest

from stepaudio.errors import MissingExtraError
from stepaudio.evaluation.extras import build_metrics, need, package_version
from stepaudio.evaluation.pitch import AutocorrelationPitch
from stepaudio.evaluation.prosody import Prosody
from stepaudio.evaluation.quality import Dnsmos


def test_what_is_there_is_imported() -> None:
    assert need("json.decoder", "reading") is sys.modules["json.decoder"]
    assert package_version("numpy") == importlib.metadata.version("numpy")
    assert package_version("no-such-distribution") == "unknown"


def test_what_is_missing_is_named_with_its_remedy() -> None:
    with pytest.raises(MissingExtraError) as caught:
        need("no_such_package.part", "the test")
    assert "the test needs the package no_such_package" in str(caught.value)
    assert "pip install 'stepaudio[eval]'" in str(caught.value)


def test_a_broken_package_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: str) -> Any:
        raise OSError("libmissing.so: cannot open")

    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(MissingExtraError, match="libmissing"):
        need("anything", "the test")


def test_missing_metrics_are_listed_and_the_others_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "speechmos", None)
    monkeypatch.setitem(sys.modules, "speechmos.dnsmos", None)
    metrics, missing = build_metrics(
        {"dnsmos": Dnsmos, "prosody": lambda: Prosody(AutocorrelationPitch())}
    )
    assert [metric.name for metric in metrics] == ["prosody"]
    assert list(missing) == ["dnsmos"]
    assert "speechmos" in missing["dnsmos"]


def test_other_failures_are_not_hidden() -> None:
    def fails() -> Prosody:
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        build_metrics({"prosody": fails})
