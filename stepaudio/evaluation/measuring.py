"""Metrics and judges at work on the items of a run; what they say is kept, never asked for twice.

What was said is stored under ``measured/NAME/ROW/STEP.json`` with the model that said it and
digests of the sound, of what that was compared with, and of the others it was measured together
with. It is asked for again only if one of them changes; a row of other words or another label has
another name, and other joins are another version of the model. So an interrupted measurement
continues, and a judge that costs money is paid once.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from stepaudio.audio import Audio
from stepaudio.errors import (
    AudioError,
    CancelledError,
    JudgeAnswerError,
    JudgeError,
    StepAudioError,
)
from stepaudio.evaluation.benchmark_data import Row
from stepaudio.evaluation.contracts import Judge, Metric, ModelId, Sample, Verdict
from stepaudio.evaluation.edit_benchmark import Item, Store
from stepaudio.evaluation.scoring import Scored
from stepaudio.hub import write_atomic
from stepaudio.result import Cancel

__all__ = ["Instrument", "Instruments", "Told", "measure_items"]

_BATCH = 8

#: Told the name of an instrument, how many items it has done, and of how many.
Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Instrument:
    """A metric and how it is to be used.

    Attributes:
        metric: what measures.
        source: what an item is compared with: ``"before"``, the recording that was edited first
            (nothing for speech from text), or ``"voice"``, the prompt of the voice.
        together: the numbers depend on the other recordings, so that a task's items of one step
            are measured at once. Otherwise they depend on nothing but sound, words, language and
            what it is compared with, and items that share these are measured once.
    """

    metric: Metric
    source: Literal["before", "voice"] = "before"
    together: bool = False


@dataclass(frozen=True)
class Instruments:
    """All that measures.

    Attributes:
        metrics: turn recordings into numbers.
        judges: by task.
        missing: what is not there by name, with the reason.
    """

    metrics: Sequence[Instrument] = ()
    judges: Mapping[str, Judge] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> frozenset[str]:
        """What is there: metrics by their own names, judges as ``"judge of TASK"``."""
        metrics = {one.metric.name for one in self.metrics}
        return frozenset(metrics | {f"judge of {task}" for task in self.judges})


def measure_items(
    rows: Sequence[Row],
    items: Sequence[Item],
    store: Store,
    instruments: Instruments,
    *,
    cancel: Cancel | None = None,
    progress: Told | None = None,
) -> list[Scored]:
    """Measure and judge every item that has a sound.

    Args:
        rows: of the items.
        items: finished, with or without sound.
        store: where the sounds are.
        instruments: what measures.
        cancel: asked between batches; True stops, and what was said stays.
        progress: told how far each instrument is.

    Returns:
        One per item, in order.

    Raises:
        CancelledError: ``cancel`` returned True.
        JudgeError: a judge is gone or became too expensive; what it had said is kept.
    """
    by_id = {row.id: row for row in rows}
    sounding = [item for item in items if item.wav is not None]
    # Every recording is read once for its digest, whatever number of instruments ask for it.
    digest = functools.cache(lambda path: _digest(path.read_bytes()))
    values: dict[tuple[str, str], dict[str, float | None]] = {}
    answers: dict[tuple[str, str], str] = {}
    for instrument in instruments.metrics:
        metric = instrument.metric
        session = _Session(
            store, by_id, digest, metric.name, cancel, progress, source=instrument.source
        )
        for item in session.measure(instrument, sounding):
            own = values.setdefault((item.row, item.step), {})
            for key, value in session.said[item.row, item.step].items():
                own[f"{metric.name}.{key}"] = value
    for task, judge in instruments.judges.items():
        # A judge of sounds must know where they should be: the text keeps its tags.
        session = _Session(store, by_id, digest, f"judge-{task}", cancel, progress, tagged=True)
        # Also a resynthesis, which was asked for no change: what is heard in it is the codec's.
        wanted = [item for item in sounding if by_id[item.row].task == task]
        for item in session.judge(judge, wanted):
            # A judge that was asked and gave nothing readable has not said the label.
            said = session.said.get((item.row, item.step))
            answers[item.row, item.step] = "" if said is None else said["answer"]
    return [
        Scored(
            item.row,
            item.step,
            row.task,
            row.label,
            row.lang,
            row.speaker or row.id,
            item.wav is not None,
            answers.get((item.row, item.step)),
            values.get((item.row, item.step), {}),
            row.set,
        )
        for item in items
        for row in [by_id[item.row]]
    ]


class _Session:
    """One instrument, what it has said so far, and the book that keeps it."""

    def __init__(
        self,
        store: Store,
        rows: Mapping[str, Row],
        digest: Callable[[Path], str],
        name: str,
        cancel: Cancel | None,
        progress: Told | None,
        *,
        source: Literal["before", "voice"] = "before",
        tagged: bool = False,
    ) -> None:
        self.store, self.rows, self.digest, self.name = store, rows, digest, name
        self.cancel, self.progress = cancel, progress
        self.source, self.tagged = source, tagged
        self.folder = store.folder / "measured" / re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
        self.said: dict[tuple[str, str], Any] = {}
        # One object per file: a metric that knows a source again need not hear it twice.
        self.sounds: dict[Path, Audio] = {}

    def measure(self, instrument: Instrument, items: Sequence[Item]) -> Sequence[Item]:
        """Have every item measured that was not."""
        metric = instrument.metric
        groups: dict[tuple[str, str], list[Item]] = {}
        for item in items:
            groups.setdefault((self.rows[item.row].task, item.step), []).append(item)
        for group in groups.values():
            # The row too, for it names the speaker.
            everyone = [" ".join((item.row, *self._heard(item))) for item in group]
            among = _digest("\n".join(everyone).encode()) if instrument.together else ""
            self._open(group, metric.model, among)
            left = self._left(group)
            alike: dict[Any, list[Item]] = {}
            if instrument.together:
                batches = [group] if left else []
            else:
                # Many edits may start from one recording, which is measured once.
                for item in left:
                    alike.setdefault(self._question(item), []).append(item)
                once = [same[0] for same in alike.values()]
                batches = [once[i : i + _BATCH] for i in range(0, len(once), _BATCH)]
            for batch in batches:
                self._tell(items)
                samples = [self._sample(item) for item in batch]
                for item, numbers in zip(batch, metric.measure(samples), strict=True):
                    for one in alike.get(self._question(item), [item]):
                        self._write(one, dict(numbers), metric.model, among)
        self._tell(items)
        return items

    def judge(self, judge: Judge, items: Sequence[Item]) -> Sequence[Item]:
        """Have every item judged that was not; some may stay without an answer."""
        self._open(items, judge.model)
        left = self._left(items)
        for start in range(0, len(left), _BATCH):
            self._tell(items)
            batch = left[start : start + _BATCH]
            samples = [self._sample(item) for item in batch]
            verdicts, error = _ask(judge, samples)
            for item, verdict in zip(batch, verdicts, strict=True):
                if verdict is not None:
                    self._write(item, asdict(verdict), judge.model)
            if error is not None and (_is_the_end(error) or not self.said):
                raise error
        self._tell(items)
        return items

    def _left(self, items: Sequence[Item]) -> list[Item]:
        return [item for item in items if (item.row, item.step) not in self.said]

    def _tell(self, items: Sequence[Item]) -> None:
        if self.cancel is not None and self.cancel():
            raise CancelledError("stopped; run again with the same options to go on")
        if self.progress is not None:
            self.progress(self.name, len(items) - len(self._left(items)), len(items))

    def _path(self, item: Item) -> Path:
        return self.folder / item.row / f"{item.step}.json"

    def _open(self, items: Sequence[Item], model: ModelId, among: str = "") -> None:
        """Read what the same model has said before in answer to the same question."""
        for item in items:
            try:
                entry = json.loads(self._path(item).read_text(encoding="utf-8"))
                known = ModelId(**entry["model"]), entry["sound"], entry["source"], entry["among"]
                said = entry["said"]
            except (OSError, ValueError, TypeError, KeyError):
                continue  # never said, or not to be read: it is asked for again
            if known == (model, *self._heard(item), among):
                self.said[item.row, item.step] = said

    def _write(self, item: Item, said: Any, model: ModelId, among: str = "") -> None:
        sound, source = self._heard(item)
        entry = {
            "model": asdict(model),
            "sound": sound,
            "source": source,
            "among": among,
            "said": said,
        }
        line = json.dumps(entry, ensure_ascii=False) + "\n"
        write_atomic(self._path(item), lambda p: p.write_text(line, encoding="utf-8"), force=True)
        self.said[item.row, item.step] = said

    def _sample(self, item: Item) -> Sample:
        row, before = self.rows[item.row], self._before(item)
        return Sample(
            id=f"{item.row}/{item.step}",
            audio=Audio.load(self.store.wav(item.row, item.step)),
            text=row.text if self.tagged else row.words,
            lang=row.lang,
            source=None if before is None else self._sound(before),
            speaker=row.speaker,
            task=row.task,
            label=row.label,
        )

    def _before(self, item: Item) -> Path | None:
        row = self.rows[item.row]
        if row.prompt_audio is None:
            return row.recording
        if self.source == "voice":
            return row.prompt_audio
        # Nothing was before speech from text. For a judge of changes, nothing changed in it.
        return self.store.wav(row.id, "iter0") if self.tagged or item.step != "iter0" else None

    def _heard(self, item: Item) -> tuple[str, str]:
        """Digests of the sound of an item and of what it is compared with, if with anything."""
        before = self._before(item)
        sound = self.digest(self.store.wav(item.row, item.step))
        return sound, "" if before is None else self.digest(before)

    def _question(self, item: Item) -> tuple[str, ...]:
        """All that a metric's numbers of an item can depend on."""
        row = self.rows[item.row]
        return *self._heard(item), row.words, row.lang

    def _sound(self, path: Path) -> Audio:
        if path not in self.sounds:
            self.sounds[path] = Audio.load(path)
        return self.sounds[path]


def _ask(
    judge: Judge, samples: Sequence[Sample]
) -> tuple[Sequence[Verdict | None], StepAudioError | None]:
    """What a judge says, None where it cannot, and why it could not."""
    try:
        return judge.judge(samples), None
    except (AudioError, JudgeError) as error:
        known = error.verdicts if isinstance(error, JudgeError) else ()
        if known or len(samples) == 1:
            return known or (None,), error
    # It gave up on one of them; the others are asked about one by one.
    verdicts: list[Verdict | None] = []
    why: StepAudioError | None = None
    for sample in samples:
        said, problem = _ask(judge, [sample])
        verdicts += said
        why = problem or why
    return verdicts, why


def _is_the_end(error: StepAudioError) -> bool:
    """Whether there is no point in asking about other recordings."""
    if isinstance(error, JudgeAnswerError):
        return False
    return isinstance(error, JudgeError) and bool(error.verdicts)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
