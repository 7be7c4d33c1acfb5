"""Pictures of a report: success by iteration, and what it costs in words and identity.

The plain resynthesis stands beside the iterations: what it shows is the codec's doing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepaudio.evaluation.edit_benchmark import RESYNTHESIS
from stepaudio.evaluation.report_numbers import step_title
from stepaudio.evaluation.summary import ALL
from stepaudio.hub import write_atomic
from stepaudio.plotting import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_success", "draw_trade_off"]

_COSTS = (("words.wer", "word error rate"), ("words.cer", "character error rate"))


def draw_success(report: Mapping[str, Any], path: str | Path, *, force: bool = False) -> Path:
    """Accuracy (or score) and joint success over the iterations, one panel per task.

    A hollow mark between iterations 0 and 1 is the plain resynthesis, if there is one.

    Args:
        report: from :func:`stepaudio.evaluation.report.build_report`.
        path: of the picture.
        force: allow replacing a file.

    Returns:
        The path.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputExistsError: the file exists and ``force`` is False.
    """
    tasks = {task: groups for task, groups in report["tasks"].items() if task in report["judges"]}

    def draw(figure: Figure) -> None:
        if not tasks:
            figure.text(0.5, 0.5, "no judge", ha="center", va="center")
            return
        columns = figure.subplots(1, len(tasks), squeeze=False)[0]
        for axes, (task, groups) in zip(columns, tasks.items(), strict=True):
            names = list(groups[ALL])
            for number, (group, steps) in enumerate(groups.items()):
                _line(axes, names, steps, "corrected", group, f"C{number}", "-")
                if task != "paralinguistic":
                    _line(axes, names, steps, "joint", f"{group}, joint", f"C{number}", "--")
            score = task == "paralinguistic"
            axes.set(
                title=task,
                ylabel="score" if score else "share",
                ylim=(1, 3) if score else (0, 1),
            )
            axes.set_xticks(range(len(names)), [step_title(name) for name in names])
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small")

    return _save(draw, 4.5 * max(1, len(tasks)), Path(path), force)


def draw_trade_off(report: Mapping[str, Any], path: str | Path, *, force: bool = False) -> Path:
    """Success against error rate and similarity; a line joins the steps of a task in order.

    Args:
        report: from :func:`stepaudio.evaluation.report.build_report`.
        path: of the picture.
        force: allow replacing a file.

    Returns:
        The path.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputExistsError: the file exists and ``force`` is False.
    """
    tasks = {
        task: groups[ALL]
        for task, groups in report["tasks"].items()
        if task in report["judges"] and task != "paralinguistic"
    }
    names = dict.fromkeys(
        name for steps in tasks.values() for cell in steps.values() for name in cell["metrics"]
    )
    costs = [(name, title) for name, title in _COSTS if name in names]
    costs += [(name, name) for name in names if name.endswith(".similarity")]

    def draw(figure: Figure) -> None:
        if not costs:
            figure.text(0.5, 0.5, "no error rate or similarity", ha="center", va="center")
            return
        columns = figure.subplots(1, len(costs), squeeze=False, sharey=True)[0]
        for axes, (name, title) in zip(columns, costs, strict=True):
            for task, steps in tasks.items():
                points = [
                    (cell["metrics"][name]["value"], cell["corrected"]["value"], step)
                    for step, cell in steps.items()
                    if "corrected" in cell
                    and cell["metrics"].get(name, {}).get("value") is not None
                ]
                if points:
                    axes.plot([p[0] for p in points], [p[1] for p in points], "o-", label=task)
                for x, y, step in points:
                    axes.annotate(
                        step.removeprefix("iter"),
                        (x, y),
                        xytext=(4, 4),
                        textcoords="offset points",
                        fontsize="small",
                    )
            axes.set(xlabel=title, ylabel="accuracy", ylim=(0, 1))
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small")

    return _save(draw, 4.5 * max(1, len(costs)), Path(path), force)


def _line(
    axes: Any,
    names: Sequence[str],
    steps: Mapping[str, Any],
    key: str,
    label: str,
    colour: str,
    style: str,
) -> None:
    """A line over the iterations, which come of each other; the resynthesis stands apart."""
    points = {
        place: steps[name][key]
        for place, name in enumerate(names)
        if steps.get(name, {}).get(key, {}).get("value") is not None
    }
    joined = {place: p for place, p in points.items() if names[place] != RESYNTHESIS}
    if not joined:
        return
    values = [p["value"] for p in joined.values()]
    axes.plot(list(joined), values, style, marker="o", color=colour, label=label)
    for place, interval in points.items():
        if place not in joined:
            axes.plot(place, interval["value"], "o", color=colour, fillstyle="none")
        if interval["low"] is not None:
            axes.vlines(place, interval["low"], interval["high"], colors=colour, alpha=0.4)


def _save(draw: Callable[[Figure], None], width: float, path: Path, force: bool) -> Path:
    require_matplotlib()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Text stays text, and the same report gives the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "stepaudio"}):
        # A Figure without pyplot: no window system, no global state.
        figure = Figure(figsize=(width, 3.6), layout="constrained")
        draw(figure)
        return write_atomic(
            path,
            lambda p: figure.savefig(p, format="svg", facecolor="white", metadata={"Date": None}),
            force=force,
        )
