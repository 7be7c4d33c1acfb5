"""Foreign files are read as data, and what cannot be is refused."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch

from stepaudio.convert.codebooks import fill_codebook
from stepaudio.convert.report import FileCoverage
from stepaudio.convert.sources import read_numpy, read_state_dict
from stepaudio.convert.yaml_settings import read_yaml
from stepaudio.errors import CheckpointError


@pytest.fixture
def settings(tmp_path):
    def read(text: str):
        path = tmp_path / "settings.yaml"
        path.write_text(text)
        return read_yaml(path)

    return read


@pytest.mark.parametrize(
    "attack",
    [
        "!!python/object/apply:os.mkdir ['{trap}']",
        "!!python/object/new:os.mkdir ['{trap}']",
        "!apply:os.mkdir ['{trap}']",
        "!new:os.mkdir {{path: '{trap}'}}",
        "!!python/name:os.mkdir",
        "!!python/module:os",
        "!include /etc/passwd",
    ],
)
def test_tags_are_data(settings, tmp_path, attack):
    trap = tmp_path / "trap"
    read = settings(f"a: {attack.format(trap=trap)}\nb: 3\n")
    assert read.integer("b", 0) == 3
    assert not trap.exists()


def test_values_wherever_they_stand(settings):
    read = settings(
        "rate: 24000\n"
        "flow: !new:package.module.Flow\n"
        "  size: 1\n"
        "  inner: !new:package.Inner\n"
        "    size: 2\n"
        "    deep: 5\n"
        "    rate: !ref <rate>\n"
        "    other: !ref <flow[inner][deep]>\n"
        "    sigma: 3e-3\n"
        "    top: null\n"
        "    flag: false\n"
        "    list: !tuple [1, 2]\n"
        "    lists: [[1, 2], [3]]\n"
        "empty: !new:package.Empty\n"
    )
    flow = read.section("flow")
    assert flow.class_name == "Flow"
    assert read.section("empty").class_name == "Empty"
    assert read.class_name == ""
    assert flow.integer("size", 0) == 1  # the nearest one
    assert flow.section("inner").integer("size", 0) == 2
    assert flow.integer("deep", 0) == flow.integer("other", 0) == 5
    assert flow.integer("rate", 0) == 24000
    assert flow.number("sigma", 0.0) == 0.003
    assert flow.optional_number("top", 8000.0) is None
    assert flow.optional_number("absent", 8000.0) == 8000.0
    assert flow.optional_number("deep", None) == 5.0
    assert flow.flag("flag", True) is False
    assert flow.flag("absent", True) is True
    assert flow.integers("list", ()) == (1, 2)
    assert flow.integers("absent", (7,)) == (7,)
    assert flow.integer_lists("lists", ()) == ((1, 2), (3,))
    assert flow.text("absent", "x") == "x"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a: b", lambda s: s.integer("a", 0)),
        ("a: 1.5", lambda s: s.integer("a", 0)),
        ("a: [1]", lambda s: s.number("a", 0)),
        ("a: [b]", lambda s: s.integers("a", ())),
        ("a: [true]", lambda s: s.integers("a", ())),
        ("a: 1", lambda s: s.integer_lists("a", ())),
        ("a: 1", lambda s: s.flag("a", True)),
        ("a: 1", lambda s: s.section("a")),
        ("b: 1", lambda s: s.section("a")),
        ("a: !ref <b>\nb: !ref <a>", lambda s: s.integer("a", 0)),
        ("a: 1", lambda s: s.agree("a", 2, "weights.pt")),
    ],
)
def test_wrong_values(settings, text, read):
    with pytest.raises(CheckpointError, match=r"settings\.yaml"):
        read(settings(text))


def test_aliases_end(settings):
    nine = "".join(
        f"l{i}: &l{i} {{" + ", ".join(f"k{j}: *l{i - 1}" for j in range(9)) + "}\n"
        for i in range(1, 30)
    )
    read = settings("l0: &l0 {x: 1}\n" + nine)
    assert read.integer("absent", 4) == 4
    assert settings("a: &x {b: *x, c: 1}").integer("c", 0) == 1


@pytest.mark.parametrize("text", ["a: [", "- a", "", "{[a]: 1}", "a: 2024-99-99"])
def test_no_settings(settings, text):
    with pytest.raises(CheckpointError, match=r"settings\.yaml"):
        settings(text)


def test_not_text(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(CheckpointError, match=r"settings\.yaml"):
        read_yaml(path)


@pytest.mark.parametrize(
    "content", [{}, [torch.ones(1)], {"a": 1}, {1: torch.ones(1)}, {"a": {"b": torch.ones(1)}}]
)
def test_state_dict_must_be_flat(tmp_path, content):
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"weights\.pt must hold"):
        read_state_dict(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_both_generations_of_state_dicts(tmp_path, zipped):
    path = tmp_path / "weights.pt"
    content = OrderedDict(a=torch.arange(3.0))
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert read_state_dict(path)["a"].tolist() == [0, 1, 2]


def test_not_an_array(tmp_path):
    path = tmp_path / "array.npy"
    path.write_bytes(b"\x93NUMPY")
    with pytest.raises(CheckpointError, match=r"array\.npy"):
        read_numpy(path)


def test_codebooks(tmp_path):
    codebook = torch.ones(3, 2)
    filled = fill_codebook(codebook, 5, tmp_path)
    assert filled.shape == (5, 2)
    assert torch.equal(filled[:3], codebook)
    assert torch.equal(fill_codebook(codebook, 3, tmp_path), codebook)
    for wrong in (torch.ones(6, 2), torch.ones(3)):
        with pytest.raises(CheckpointError, match="at most 5 codes"):
            fill_codebook(wrong, 5, tmp_path)


def test_unaccounted_tensors():
    coverage = FileCoverage("x.pt", {"a": "lm: a"}, {"b": "why"})
    assert coverage.close(["a", "b"]) is coverage
    with pytest.raises(CheckpointError, match=r"x\.pt holds tensors of no known use: c"):
        coverage.close(["a", "b", "c"])
