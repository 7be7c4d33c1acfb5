"""``stepaudio eval card`` with a tiny model: sections, targets, what is missing, going on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import debug_parts as debug
import pytest
from command_line import ok, refused, told
from eval_fakes import FakeSystem, YesJudge, write_lines

from stepaudio import EditPipeline
from stepaudio.evaluation import card
from stepaudio.evaluation.measuring import Instrument
from stepaudio.evaluation.prosody import Prosody
from stepaudio.evaluation.registry import MetricSettings

#: Hears a style in everything that has any sound.
EVERYTHING = YesJudge(("whisper",), floor=-2.0)

#: Hear what was asked for in what was edited: once at least, or more than once.
EDITED = YesJudge(("happy",), floor=0.05)
OFTEN = YesJudge(("happy",), floor=0.25)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    pipe = EditPipeline(debug.debug_parts(), defaults=debug.DEFAULTS)
    return str(pipe.save_pretrained(tmp_path_factory.mktemp("model") / "debug"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two speakers, and a machine on which only prosody can be measured."""

    def load(
        names: Sequence[str], settings: MetricSettings
    ) -> tuple[list[Instrument], dict[str, str]]:
        if list(names) == ["prosody"]:
            return [Instrument(Prosody())], {}
        return [], dict.fromkeys(names, "not on this machine")

    monkeypatch.setattr(card, "load_metrics", load)
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("ann", "bob")):
        debug.speech(2.2, seed=number).save(f"{name}.wav")
    lines = [
        {
            "path": f"{name}.wav",
            "speaker": name,
            "gender": gender,
            "set": "books",
            "text": "see you tomorrow",
        }
        for name, gender in (("ann", "f"), ("bob", "m"))
    ]
    write_lines(tmp_path / "m.jsonl", lines)
    return tmp_path


def test_a_card(model: str, here: Path) -> None:
    arguments = ["eval", "card", "m.jsonl", "-o", "out/nano.json", "--model", model]
    arguments += ["--speech", "books", "--limit", "1", "--device", "cpu", "--threads", "1"]
    arguments += ["--limit", "speed=2", "--judge", f"style=python:{__name__}:EVERYTHING"]
    arguments += ["--limit", "speak=3"]
    said = told(*arguments, "--only", "speak,style,speed,denoise,size")
    assert list(said["sections"]) == ["speak", "style", "speed", "denoise", "size"]
    assert said["model"].startswith("debug (")
    assert {key: said["missing"][key] for key in ("words", "nominal tempo")} == {
        "words": "not on this machine",
        "nominal tempo": "the model does not say what tempo its labels mean",
    }
    assert "no recording has the set 'esc10'" in said["sections"]["denoise"]["missing"]
    figures = {
        f"{name}.{one['name']}": one
        for name, section in said["sections"].items()
        for one in section.get("figures", ())
    }
    # The judge hears the style in everything: always right, and nothing gained.
    assert figures["style.first"]["value"] == 1.0
    assert (figures["style.gain"]["value"], figures["style.gain"]["met"]) == (0.0, False)
    assert figures["speed.within"]["value"] is None
    assert figures["speed.within"]["met"] is None
    assert figures["speed.tempo_faster"]["value"] > 0
    title = "Zero-shot speech: 3 sentences in 2 voices"
    assert (said["sections"]["speak"]["title"], said["sections"]["speak"]["rows"]) == (title, 3)
    # Both speakers in one section, one in the others.
    assert said["sections"]["speed"]["rows"] == 2 * said["sections"]["style"]["rows"] == 8
    assert figures["speed.errors"]["missing"] == "not on this machine"
    assert "slices" not in said["sections"]["size"]
    slices = said["sections"]["speed"]["slices"]
    assert {name: (of["rows"], of["speakers"]) for name, of in slices.items()} == {
        "gender f": (4, 1),
        "gender m": (4, 1),
    }
    assert figures["size.megabytes"]["met"] is True
    assert figures["size.rtf"]["value"] > 0
    assert set(said["sections"]["speed"]["labels"]) == {
        "faster",
        "more faster",
        "slower",
        "more slower",
    }
    files = {Path(path).name for path in said["written"]}
    assert files == {"nano.json", "nano.md", "nano-success.svg", "nano-trade-off.svg"}
    page = Path("out/nano.md").read_text("utf-8")
    assert "| gain of Iter1 over Iter0, whisper | 0 % | ≥ 20 % | **missed** |" in page
    assert "missing: not on this machine" in page
    assert "**Denoising at 5 dB**: missing (no recording has the set 'esc10')." in page
    kept = json.loads(Path("out/nano.json").read_text("utf-8"))
    assert kept["sections"] == said["sections"]
    assert "exists" in refused(*arguments)


def test_a_model_that_cannot_edit_misses_its_targets(
    model: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "load_system", lambda *_, **__: FakeSystem(fails="see you"))
    arguments = ["eval", "card", "m.jsonl", "-o", "nano.json", "--model", model, "--only", "style"]
    arguments += ["--speech", "books", "--limit", "1", "--device", "cpu"]
    said = told(*arguments, "--judge", f"style=python:{__name__}:EVERYTHING")
    # A resynthesis of each, and no edit.
    assert said["sections"]["style"]["failed"] == said["sections"]["style"]["rows"] == 4
    figures = {one["name"]: one for one in said["sections"]["style"]["figures"]}
    # The judge hears every style in the recordings, and all of them are lost.
    for name in ("gain", "gain_whisper"):
        assert (figures[name]["value"], figures[name]["met"]) == (-1.0, False)
    assert figures["errors_added"]["missing"] == "not on this machine"
    assert said["targets"] == {"met": 0, "missed": 5, "unknown": 0}


def test_two_judges_hear_the_same_edits(
    model: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "load_system", lambda *_, **__: FakeSystem())
    arguments = ["eval", "card", "m.jsonl", "-o", "nano.json", "--model", model, "--speech"]
    arguments += ["books", "--limit", "1", "--device", "cpu", "--only", "emotion"]
    arguments += ["--judge", f"emotion=python:{__name__}:EDITED"]
    alone = told(*arguments)
    both = told(*arguments, "--force", "--judge", f"emotion_pairs=python:{__name__}:OFTEN")
    before, after = (
        {one["name"]: one for one in said["sections"]["emotion"]["figures"]}
        for said in (alone, both)
    )
    for name in ("first", "gain", "gain_codec", "last", "later"):
        assert before[name] == after[name]
        assert before[f"pairs_{name}"]["missing"] == "none was asked for"
    assert alone["missing"]["judge of emotion_pairs"] == "none was asked for"
    assert "judge of emotion_pairs" not in both["missing"]
    assert (after["first"]["value"], after["later"]["value"]) == (1.0, 0.0)
    shown = {name: after[f"pairs_{name}"]["value"] for name in ("first", "gain", "last", "later")}
    assert shown == {"first": 0.0, "gain": 0.0, "last": 1.0, "later": 1.0}
    assert set(both["judges"]) == {"emotion", "emotion_pairs"}
    second = both["sections"]["emotion"]["second"]
    assert second["judge"] == "emotion_pairs"
    assert second["steps"]["iter3"]["corrected"]["value"] == 1.0
    # Each keeps its own answers, and each is given the recording before the edit.
    kept = Path("card/runs/emotion/measured")
    folders = {path.name for path in kept.iterdir()}
    assert {"judge-emotion", "judge-emotion_pairs"} <= folders
    assert all(sample.source is not None for sample in OFTEN.asked)
    page = Path("nano.md").read_text("utf-8")
    assert page.count("| **accuracy, %** |") == 2
    asked = len(OFTEN.asked)
    told(*arguments, "--force", "--judge", f"emotion_pairs=python:{__name__}:OFTEN")
    assert len(OFTEN.asked) == asked


def test_it_goes_on_where_it_stopped(model: str, here: Path) -> None:
    arguments = ["eval", "card", "m.jsonl", "-o", "nano.json", "--model", model, "--only", "size"]
    arguments += ["--speech", "books", "--device", "cpu"]
    first = told(*arguments)
    made = {path: path.read_bytes() for path in Path("card/runs").rglob("iter1.*")}
    # Timings come from the first run, so that nothing was made again.
    again = told(*arguments, "--force")
    assert again["sections"]["size"]["figures"] == first["sections"]["size"]["figures"]
    assert {path: path.read_bytes() for path in made} == made
    assert "another configuration" in refused(*arguments, "--force", "--seed", "1")
    assert ok(*arguments, "--force").endswith("missed, 0 unknown: nano.json\n")


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["-o", "x.json", "--only", "speeds"], "there is no section 'speeds'; choose from", 1),
        (["-o", "x.json"], "no recordings with words and the set 'librispeech'", 1),
        (["-o", "x.txt"], "x.txt does not end in .json", 2),
        (["-o", "x.json", "--limit", "0"], "--limit", 2),
        (["-o", "x.json", "--limit", "speeds=3"], "SECTION=N", 2),
        (["-o", "x.json", "--limit", "style="], "SECTION=N", 2),
    ],
)
def test_refusals(here: Path, arguments: list[str], message: str, code: int) -> None:
    before = {path for path in here.rglob("*") if path.is_file()}
    assert message in refused("eval", "card", "m.jsonl", *arguments, code=code)
    assert {path for path in here.rglob("*") if path.is_file()} == before
