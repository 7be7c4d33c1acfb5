"""Running the edit benchmark: zero-shot speech, then edit after edit (paper section 4).

Iteration 0 speaks the words of a row in the prompt's voice, or is a recording that is there
already; iteration n edits the sound file of iteration n - 1. Inserting a sound takes one iteration.
Each finished item is a sound file and a JSON file under ``items/ROW/``; the JSON file is written
last and through one rename, so that an item is there completely or not at all, and a run that was
interrupted goes on where it stopped and ends up the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import stepaudio
from stepaudio.audio import Audio
from stepaudio.edits import Edit
from stepaudio.errors import CancelledError, EvaluationError, OutputExistsError, StepAudioError
from stepaudio.evaluation.benchmark_data import Row
from stepaudio.hub import write_atomic
from stepaudio.result import Cancel, EditResult
from stepaudio.seeds import derive_seed
from stepaudio.types import VoicePrompt

__all__ = [
    "RESYNTHESIS",
    "Done",
    "Item",
    "RunConfig",
    "Store",
    "System",
    "run_row",
    "run_rows",
    "steps_of",
]

#: Name of the item that is iteration 0 taken to tokens and back.
RESYNTHESIS = "resynth"


class System(Protocol):
    """What is measured; see :class:`stepaudio.evaluation.systems.PipelineSystem`."""

    def speak(self, words: str, row: Row, seed: int, cancel: Cancel | None) -> EditResult:
        """Say words in the voice of the row's prompt."""

    def edit(
        self,
        audio: Audio,
        edit: Edit,
        words: str,
        seed: int,
        voice: VoicePrompt | None,
        cancel: Cancel | None,
    ) -> EditResult:
        """Change a recording, in a voice given or in its own."""

    def voice(self, audio: Audio, words: str) -> VoicePrompt:
        """The voice of a recording."""

    def resynthesize(self, audio: Audio, seed: int, cancel: Cancel | None) -> EditResult:
        """To tokens and back."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that a result depends on, besides the rows.

    Attributes:
        model: name and digest of what is measured.
        iterations: of emotion and style; every other task takes one.
        fixed_prompt: the decoder keeps the voice of iteration 0 throughout (the paper's ablation).
        seed: of the whole run; every row and iteration has one derived from it.
        baseline: what words and voice are compared with: ``"iter0"``, or ``"resynth"`` where
            iteration 0 is a real recording, which no vocoder has touched.
        settings: other settings of the system, for the record.
        source: where the rows come from, and which were selected.
    """

    model: str
    iterations: int = 3
    fixed_prompt: bool = False
    seed: int = 0
    baseline: Literal["iter0", "resynth"] = "iter0"
    settings: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise EvaluationError(f"there must be at least one iteration, not {self.iterations}")


@dataclass(frozen=True)
class Item:
    """One recording that was made, or could not be made.

    Attributes:
        row: id of the row.
        step: ``"iter0"``, ``"iter1"``, … or :data:`RESYNTHESIS`.
        wav: path within the folder of the run; None if there is no sound.
        seed: that was used.
        seconds: duration of the sound.
        seconds_spent: computing time.
        stop_reason: of the language model.
        error: why there is no sound; empty if there is.
    """

    row: str
    step: str
    wav: str | None
    seed: int
    seconds: float | None = None
    seconds_spent: float | None = None
    stop_reason: str = ""
    error: str = ""


#: Told of every item that is finished, also of those found finished.
Done = Callable[[Item], None]


def steps_of(row: Row, config: RunConfig) -> list[str]:
    """The items of a row, in the order they are made; no edit where no change is asked for."""
    edits = config.iterations if row.task in ("emotion", "style") else int(bool(row.task))
    baseline = [RESYNTHESIS] if config.baseline == RESYNTHESIS else []
    return ["iter0", *baseline, *(f"iter{n}" for n in range(1, edits + 1))]


class Store:
    """The folder of a run.

    Args:
        folder: made if needed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def begin(self, config: RunConfig, rows: Sequence[Row]) -> None:
        """Claim the folder for a configuration, or check that it is the one begun there.

        Args:
            config: of the run.
            rows: all rows of the run, whatever the shard.

        Raises:
            EvaluationError: the folder holds results of another configuration; names what differs.
            OutputExistsError: the folder holds something else.
        """
        wanted = json.loads(json.dumps(_description(config, rows)))
        path = self.folder / "config.json"
        if not path.exists():
            if self.folder.is_dir() and any(self.folder.iterdir()) and not self._items.exists():
                raise OutputExistsError(f"{self.folder} is not empty; choose another folder")
            try:
                write_atomic(path, lambda p: p.write_text(_pretty(wanted), encoding="utf-8"))
                return
            except OutputExistsError:
                # Another shard was faster; what it wrote is compared like any other.
                pass
        there = self.config()
        differing = [
            f"{key} was {_short(there.get(key))} and is now {_short(wanted.get(key))}"
            for key in sorted({*there, *wanted})
            if there.get(key) != wanted.get(key)
        ]
        if differing:
            raise EvaluationError(
                f"{self.folder} was begun with another configuration: {'; '.join(differing)}; "
                "choose another folder, or repeat the old options to go on"
            )

    def config(self) -> dict[str, Any]:
        """The configuration this folder was begun with.

        Returns:
            As plain values, with the version of the library and a digest of the rows.

        Raises:
            EvaluationError: there is none, or it is damaged.
        """
        path = self.folder / "config.json"
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EvaluationError(f"{path} cannot be read: {error}") from error
        if not isinstance(value, dict):
            raise EvaluationError(f"{path} does not hold a configuration")
        return value

    @property
    def _items(self) -> Path:
        return self.folder / "items"

    def wav(self, row: str, step: str) -> Path:
        """Where the sound of an item is, or will be."""
        return self._items / row / f"{step}.wav"

    def read(self, row: str, step: str) -> Item | None:
        """A finished item.

        Args:
            row: id of its row.
            step: its name.

        Returns:
            The item; None if it is not finished.

        Raises:
            EvaluationError: the item is damaged.
        """
        path = self.wav(row, step).with_suffix(".json")
        try:
            return Item(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise EvaluationError(f"{path} is damaged ({error}); delete it to redo it") from error

    def write(self, item: Item, audio: Audio | None) -> None:
        """Finish an item: the sound first, so that the JSON file says it is complete."""
        path = self.wav(item.row, item.step)
        if audio is not None:
            audio.save(path, force=True)
        line = json.dumps(asdict(item), ensure_ascii=False) + "\n"
        write_atomic(
            path.with_suffix(".json"), lambda p: p.write_text(line, encoding="utf-8"), force=True
        )


def run_rows(
    rows: Sequence[Row],
    system: System,
    store: Store,
    config: RunConfig,
    *,
    cancel: Cancel | None = None,
    done: Done | None = None,
) -> None:
    """Make every item that is not there yet, one after another.

    Args:
        rows: to work on; the folder was claimed by :meth:`Store.begin`.
        system: what is measured.
        store: where items are kept.
        config: of the run.
        cancel: asked all the time; True stops, and what is finished stays.
        done: told of every item.

    Raises:
        CancelledError: ``cancel`` returned True.
    """
    for row in rows:
        run_row(row, system, store, config, cancel=cancel, done=done)


def run_row(
    row: Row,
    system: System,
    store: Store,
    config: RunConfig,
    *,
    cancel: Cancel | None = None,
    done: Done | None = None,
) -> list[Item]:
    """Make the items of one row that are not there yet.

    What the system cannot do (:class:`~stepaudio.errors.StepAudioError`) becomes an item without
    sound: it counts as a failure and is not tried again, since the same seed fails again.

    Args:
        row: to work on.
        system: what is measured.
        store: where items are kept.
        config: of the run.
        cancel: asked all the time; True stops, and what is finished stays.
        done: told of every item.

    Returns:
        The items.

    Raises:
        CancelledError: ``cancel`` returned True.
    """
    items: dict[str, Item] = {}
    for step in steps_of(row, config):
        if cancel is not None and cancel():
            raise CancelledError("stopped; run again with the same options to go on")
        item = store.read(row.id, step)
        if item is None:
            item, audio = _make(row, step, items, system, store, config, cancel)
            store.write(item, audio)
        items[step] = item
        if done is not None:
            done(item)
    return list(items.values())


def _make(
    row: Row,
    step: str,
    items: Mapping[str, Item],
    system: System,
    store: Store,
    config: RunConfig,
    cancel: Cancel | None,
) -> tuple[Item, Audio | None]:
    seed = derive_seed(config.seed, f"{row.id}/{step}")

    def sound(of: str) -> Audio:
        if items[of].error:
            raise EvaluationError(f"{of} failed")
        # Always from the file: a run that goes on reads the same samples as one in one go.
        return Audio.load(store.wav(row.id, of))

    try:
        if step == "iter0" and row.recording is not None:
            audio = Audio.load(row.recording)
            return Item(row.id, step, _relative(store, row, step), seed, audio.seconds), audio
        if step == "iter0":
            result = system.speak(row.words, row, seed, cancel)
        elif step == RESYNTHESIS:
            result = system.resynthesize(sound("iter0"), seed, cancel)
        else:
            before = sound(f"iter{int(step.removeprefix('iter')) - 1}")
            voice = system.voice(sound("iter0"), row.words) if config.fixed_prompt else None
            result = system.edit(before, row.edit, row.words, seed, voice, cancel)
    except CancelledError:
        raise
    except StepAudioError as error:
        return Item(row.id, step, None, seed, error=f"{type(error).__name__}: {error}"), None
    item = Item(
        row.id,
        step,
        _relative(store, row, step),
        seed,
        round(result.audio.seconds, 4),
        round(result.seconds_spent, 4),
        result.stop_reason,
    )
    return item, result.audio


def _relative(store: Store, row: Row, step: str) -> str:
    return store.wav(row.id, step).relative_to(store.folder).as_posix()


def _description(config: RunConfig, rows: Sequence[Row]) -> dict[str, Any]:
    content = "\n".join(f"{row.id} {row.text}" for row in rows)
    return {
        "stepaudio": stepaudio.__version__,
        **asdict(config),
        "rows": len(rows),
        "rows_digest": hashlib.sha256(content.encode()).hexdigest()[:16],
    }


def _pretty(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 60 else text[:57] + "…"
