"""The page of the experiment, from ``result.json`` alone.

Beside the page go the settings, the logs, the curves and the result it was made from. What the
numbers mean nobody can generate: where ``findings.md`` lies among these, its text opens the page.

    python -m recipes.nano.posttrain.page runs/nano/posttrain -o docs/experiments/large-margin.md
"""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.nano.posttrain.page_texts import HEAD, JUDGES, MARGIN, POLICIES, PROMPT, SPEED
from stepaudio.evaluation.report_numbers import show_interval, show_number, step_title
from stepaudio.hub import read_json, write_atomic

__all__ = ["main", "page", "short_names", "verdict"]

#: Trainings whose curves are shown.
_CURVES = ("reward", "dpo", "grpo", "ppo")
_ENDS = ("lowest", "median", "highest")
_STEPS = ("iter0", "iter1", "iter2", "iter3")
_NAMES = {"sft": "SFT", "dpo": "+ DPO", "grpo": "+ GRPO", "ppo": "+ PPO"}
#: Measures of a comparison: title, digits, whether it is a share, whether more is better.
_COMPARED = {
    "changed": ("asked change heard, %", 1, True, True),
    "joint": ("joint success, %", 1, True, True),
    "wer": ("word error rate", 3, False, False),
    "similarity": ("similarity", 3, False, True),
}
_TOKENS = {
    "kl": "KL to SFT, nats per answer", "length_over_wanted": "length over the wanted one",
    "ended": "ended by itself", "unique_units": "different units", "preference": "reward model",
    "words": "words kept in codes", "length": "length reward",
}  # fmt: skip
_METRICS = (
    ("words.wer", "word error rate", 3),
    ("speaker:resemblyzer.similarity", "similarity to the source", 3),
    ("distillmos.mos", "DistillMOS", 2),
    ("dnsmos.p808", "DNSMOS P.808", 2),
)


def page(found: Mapping[str, Any], findings: str, beside: str) -> str:
    """The page.

    Args:
        found: from :func:`recipes.nano.posttrain.result.gather`.
        findings: what somebody who read it takes from it, in Markdown; may be empty.
        beside: folder of the curves, relative to the page.

    Returns:
        Markdown.
    """
    parts = [
        HEAD.format(**_facts(found)), *([findings] if findings else []), MARGIN, *_margin(found),
        POLICIES, *_policies(found), *_curves(beside), PROMPT, *_prompt(found), JUDGES,
        *_judges(found), SPEED, *_speed(found), *_examples(found),
    ]  # fmt: skip
    return "\n".join(parts).rstrip() + "\n"


def verdict(interval: Mapping[str, Any], *, more_is_better: bool) -> str:
    """What a difference says.

    Args:
        interval: of it.
        more_is_better: of the number compared.

    Returns:
        ``"better"``, ``"worse"``, or that the interval does not tell.
    """
    if interval["low"] is None or interval["low"] <= 0 <= interval["high"]:
        return "cannot be told apart"
    return "better" if (interval["value"] > 0) == more_is_better else "worse"


def _facts(found: Mapping[str, Any]) -> dict[str, Any]:
    plan, machine = found["plan"], found["environment"]
    hours = sum(found["seconds"].values()) / 3600
    return {
        "seeds": plan["seeds"], "speakers": found["margins"]["speakers"],
        "held": found["margins"]["held_out_speakers"], "hours": f"{hours:.1f}",
        "machine": f"{machine['machine']}, torch {machine['torch']}, {machine['date']}",
    }  # fmt: skip


def _margin(found: Mapping[str, Any]) -> list[str]:
    arms = found["margins"]["arms"]
    lines = _table(
        ("set", "pairs", "of them synthetic", "margin: lowest, median, highest", "at least 6"),
        (
            (
                name, one["pairs"], one["synthetic"],
                ", ".join(show_number(one[key], 1, False) for key in _ENDS), one["at_least_6"],
            )
            for name, one in arms.items()
        ),
    )  # fmt: skip
    rows = []
    for arm, measured in found["margin_arms"].items():
        of = [arm] if arm == "sft" else [f"{arm}-{n}" for n in range(found["plan"]["seeds"])]
        rows.append((
            "before" if arm == "sft" else arm,
            *(_cell(measured[name], name) for name in _COMPARED),
            *(_span([found["tokens"][n]["surprise"][held]["value"] for n in of], 3)
              for held in ("held_large", "held_small")),
        ))  # fmt: skip
    titles = [title for title, *_ in _COMPARED.values()]
    lines += _table(("trained on", *titles, "nats per code, held out, large", "… small"), rows)
    return [*lines, *_differences("difference", found["margin_differences"])]


def _policies(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for task in ("emotion", "style"):
        for group in ("near", "far"):
            rows = [
                (title, *_steps(found["heard"][name], task, group))
                for name, title in _NAMES.items()
            ]
            lines += [f"**{task}, {group} edits**: the asked change heard, %", ""]
            lines += _table(("", *map(step_title, _STEPS)), rows)
    for step in ("iter1", "iter3"):
        rows = []
        for name, title in _NAMES.items():
            cells = found["heard"][name]["tasks"]["emotion"]["all"][step]["metrics"]
            rows.append((title, *(show_interval(cells.get(k), d, False) for k, _, d in _METRICS)))
        lines += [f"Emotion edits, {step_title(step)}", ""]
        lines += _table(("", *(title for _, title, _ in _METRICS)), rows)
    for name, title in list(_NAMES.items())[1:]:
        lines += [f"**{title} against SFT**, row by row", ""]
        lines += _differences("edits", found["policy_differences"][name])
    lines += ["Without sound, on prompts of held-out speakers and texts:", ""]
    lines += _table(
        ("", *_NAMES.values()),
        (
            (title, *(show_interval(found["tokens"][n]["numbers"][key], 3, False) for n in _NAMES))
            for key, title in _TOKENS.items()
        ),
    )
    return lines + _reward(found)


def _reward(found: Mapping[str, Any]) -> list[str]:
    told = found["preferences"]
    weights = ", ".join(f"{name} {value:g}" for name, value in found["weights"].items())
    text = (
        f"The reward model prefers the better answer in {found['reward_accuracy']['all']:.1%} of "
        f"{told['held_out_pairs']} pairs of held-out speakers, after one epoch of {told['pairs']} "
        f"pairs. Weights: {weights}."
    )
    rows = [
        (f"{one['threshold']:g}", one["pairs"], one["prompts"], f"{one['share']:.1%}")
        for one in told["survivors"]
    ]
    return [
        text, "", "Pairs of answers whose ratings differ by more than a threshold:", "",
        *_table(("threshold", "pairs", "prompts", "share"), rows),
    ]  # fmt: skip


def _prompt(found: Mapping[str, Any]) -> list[str]:
    rows = []
    for task in ("emotion", "style"):
        for name, title in (("sft", "moving"), ("sft-fixed", "fixed")):
            rows.append((f"{task}, {title}", *_steps(found["heard"][name], task, "all")))
    lines = _table(("the asked change heard, %", *map(step_title, _STEPS)), rows)
    rows = []
    for name, title in (("sft", "moving"), ("sft-fixed", "fixed")):
        cells = found["heard"][name]["tasks"]["emotion"]["all"]["iter3"]["metrics"]
        rows.append((title, *(show_interval(cells.get(key), d, False) for key, _, d in _METRICS)))
    lines += _table(("emotion, Iter3", *(title for _, title, _ in _METRICS)), rows)
    return [*lines, *_differences("fixed over moving", found["policy_differences"]["sft-fixed"])]


def _judges(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for task, one in found["judges"].items():
        lines.append(f"- {task}: {one['name']}, {one['version']}")
        if "confusion" in one:
            corpora = Counter(name.partition("_")[0] for name in one["confusion"]["speakers"])
            people = ", ".join(f"{name} ({count})" for name, count in corpora.items())
            lines.append(f"  - corpora (speakers) it learned from: {people}")
    lines += [f"- not measured: {name} ({why})" for name, why in found["missing"].items()]
    return [*lines, ""]


def _speed(found: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            _NAMES[name], one["rounds"], one["drawn_tokens_per_second"],
            one["learned_tokens_per_second"],
            *(f"{one['shares'][part]:.0%}" for part in ("drawing", "reward", "update")),
        )
        for name, one in found["online"].items()
    ]  # fmt: skip
    lines = _table(
        ("", "rounds", "tokens drawn per s", "tokens learned per s", "drawing", "reward", "update"),
        rows,
    )
    lines += _table(
        ("training", "steps", "seconds", "answer tokens (pairs) per s", "loss, first, last"),
        (
            (name, one["steps"], one["seconds"], one["learned_per_second"],
             f"{one['first_loss']:.3f}, {one['loss']:.3f}")
            for name, one in found["trainings"].items()
        ),
    )  # fmt: skip
    rounds = []
    for name, one in found["online"].items():
        curves = one["curves"]
        for key in ("score", "kl", "length"):
            values = curves[key]
            middle = values[len(values) // 2]
            rounds.append(
                (f"{_NAMES[name]}: {key}", *(f"{v:.2f}" for v in (values[0], middle, values[-1])))
            )
    return lines + _table(("", "first round", "middle", "last"), rounds)


def _examples(found: Mapping[str, Any]) -> list[str]:
    lines = ["## Tokens", "", "The first four units of some answers to the same prompts.", ""]
    for number, shown in enumerate(found["tokens"]["sft"]["examples"]):
        lines += [f"{shown['edit']}, “{shown['text']}”", "", "```", f"source  {shown['source']}"]
        for name in _NAMES:
            answer = found["tokens"][name]["examples"][number]["answer"]
            lines.append(f"{_NAMES[name].removeprefix('+ '):<7} {answer}")
        lines += ["```", ""]
    return lines


def _steps(report: Mapping[str, Any], task: str, group: str) -> list[str]:
    cells = report["tasks"][task].get(group, {})
    return [
        show_interval(cells[step]["corrected"], 0, True) if step in cells else "–"
        for step in _STEPS
    ]


def _curves(beside: str) -> list[str]:
    shown = [f"![Curves of {name}]({beside}/curves/{name}.png)" for name in _CURVES]
    return ["Curves of the trainings:", "", "\n\n".join(shown), ""]


def _differences(title: str, rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return _table(
        (title, *(one for one, *_ in _COMPARED.values())),
        (
            (name, *(
                f"{_cell(one[key], key, signed=True)}: {verdict(one[key], more_is_better=more)}"
                if one[key]["value"] is not None else "–"
                for key, (_, _, _, more) in _COMPARED.items()
            ))
            for name, one in rows.items()
        ),
    )  # fmt: skip


def _cell(interval: Mapping[str, Any], name: str, *, signed: bool = False) -> str:
    _, digits, share, _ = _COMPARED[name]
    return show_interval(interval, digits, share, signed=signed)


def _span(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    low, high = min(known), max(known)
    return f"{low:.{digits}f}" if low == high else f"{low:.{digits}f} to {high:.{digits}f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return [*lines, ""]


def main() -> None:
    """Write the page, and beside it settings, logs and the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="folder of the experiment")
    parser.add_argument("-o", "--page", required=True)
    args = parser.parse_args()
    out, target = Path(args.out), Path(args.page)
    found = read_json(out / "result.json")
    beside, names = target.with_suffix(""), short_names(args.out, found["given"])
    notes = beside / "findings.md"
    findings = notes.read_text(encoding="utf-8") if notes.exists() else ""
    text = page(found, findings, beside.name)
    write_atomic(target, lambda place: place.write_text(text, encoding="utf-8"), force=True)
    for file in [out / "result.json", *sorted(out.glob("configs/*.toml"))]:
        place = beside / file.relative_to(out)
        _copy(file, place)
        content = place.read_text(encoding="utf-8")
        for path, name in names.items():
            content = content.replace(path, name)
        place.write_text(content, encoding="utf-8")
    for file in sorted(out.glob("runs/*/metrics.jsonl")):
        _copy(file, beside / "logs" / f"{file.parent.name}.jsonl")
    for name in _CURVES:
        _copy(out / "runs" / name / "curves.png", beside / "curves" / f"{name}.png")


def short_names(out: str, given: Mapping[str, Any]) -> dict[str, str]:
    """Names for the folders of whoever ran it, which are nobody else's business.

    Args:
        out: folder of the experiment.
        given: what it was given.

    Returns:
        Names by path, long paths before those they lie in.
    """
    names = {out: "OUT", given["test"]: "TEST", given["emotion_judge"]: "JUDGE"}
    names |= {path: f"FEATURES{n}" for n, path in enumerate(given["features"], start=1)}
    names |= {given["lm"]: "LM", given["text"]: "TEXT"}
    if given["pipeline"]:
        names[given["pipeline"]] = "PIPELINE"
    return dict(sorted(names.items(), key=lambda one: -len(one[0])))


def _copy(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, place)


if __name__ == "__main__":
    main()
