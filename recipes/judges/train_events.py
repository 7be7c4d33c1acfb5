"""A detector of sounds inserted into speech, with its accuracy on people it has not heard.

python -m recipes.judges.train_events eval/manifest.jsonl -o runs/judges/events
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from recipes.judges.clips import Clip, fold_speakers, read_clips
from recipes.judges.event_trial import Alarms, Trial, report, set_scenes, story, try_out
from recipes.judges.event_windows import Heard, listen
from recipes.judges.judge_card import write_card
from recipes.judges.sounds import read_sounds
from recipes.judges.train_statistics import fit_statistics
from stepaudio.edits import PARALINGUISTIC_TAGS
from stepaudio.evaluation.confusion import Confusion
from stepaudio.evaluation.contracts import ModelId
from stepaudio.evaluation.event_judge import OTHER, EventJudge
from stepaudio.evaluation.recognizer import WhisperRecognizer
from stepaudio.evaluation.statistics_classifier import StatisticsClassifier, StatisticsConfig

__all__ = ["main"]

_WINDOW_SECONDS = 0.8
# Words are most of what is heard, so they are most of what is drawn.
_SHARES = {OTHER: 4.0}
#: How acted or read speech is called in manifests; whatever it expresses, it is none of the sounds.
_SPEECH = ("read", "neutral", "calm", "happy", "sad", "angry", "fear", "surprise", "disgust")


def _speech(manifest: str, sets: Sequence[str], each: int) -> list[Clip]:
    """Up to so many recordings of each speaker, evenly over what is expressed."""
    by: dict[str, list[Clip]] = {}
    for clip in read_clips(manifest, dict.fromkeys(_SPEECH, OTHER), sets=sets):
        by.setdefault(clip.speaker, []).append(clip)
    chosen = []
    for clips in by.values():
        step = max(1, len(clips) / each)
        chosen += [clips[int(n * step)] for n in range(min(each, len(clips)))]
    return chosen


def main(arguments: list[str] | None = None) -> None:
    """Train, measure and write the judge's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest")
    parser.add_argument("-o", "--out", required=True, help="nothing in it may be shipped")
    parser.add_argument(
        "--sets", nargs="+", default=["deeply_nonverbal", "hedgewars_voices", "esc10"]
    )
    parser.add_argument(
        "--speech", nargs="+", default=["ravdess", "nemo", "tess", "emodb", "speechocean762"],
        help="corpora of speech to train with",
    )  # fmt: skip
    parser.add_argument(
        "--hosts", nargs="+", default=["librispeech"],
        help="corpora of speech never trained with, into which sounds are put to be found",
    )  # fmt: skip
    parser.add_argument("--each", type=int, default=12, help="recordings of a speaker")
    parser.add_argument("--variants", type=int, default=6, help="insertions of every sound")
    parser.add_argument("--trials", type=int, default=3, help="insertions of every sound, in test")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--whisper", default="tiny.en", help="whose encoder listens; '' for none")
    parser.add_argument("--steps", type=int, default=300, help="of the optimizer, each model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--debug", action="store_true", help="the smallest network; with --whisper ''"
    )
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    out = Path(args.out)
    sounds = read_sounds(args.manifest, args.sets)
    speech = _speech(args.manifest, args.speech, args.each)
    hosts = _speech(args.manifest, args.hosts, args.each)
    if {clip.speaker for clip in hosts} & {clip.speaker for clip in (*sounds, *speech)}:
        parser.error("who speaks in --hosts must not be in --sets nor in --speech")
    found = Counter(clip.label for clip in sounds)
    labels = [*(tag for tag in PARALINGUISTIC_TAGS if found[tag]), OTHER]
    listener = WhisperRecognizer(args.whisper, threads=args.threads) if args.whisper else None
    debug = StatisticsConfig.debug(labels)
    config = debug if args.debug else StatisticsConfig.release(labels, listener)
    config = replace(config, seconds=_WINDOW_SECONDS)
    print(f"{dict(found)} sounds; {len(speech)} recordings of speech; {len(hosts)} to insert into")

    parts = fold_speakers([*sounds, *speech], args.folds)
    heard = listen(
        sounds, speech, parts, config, out / "vectors", variants=args.variants, listener=listener
    )
    scenes = set_scenes(sounds, hosts, config, out / "vectors", each=args.trials, listener=listener)
    answers: list[tuple[Clip, str]] = []
    trials: list[Trial] = []
    alarms: list[Alarms] = []
    for number, part in enumerate(parts):
        model = _fit(heard, config, args.steps, listener, without=part)
        answers += _answers(model, heard, part)
        judge = EventJudge(model, Confusion.of(labels, []), ModelId("fold", str(number)))
        fold_trials, fold_alarms = try_out(judge, scenes, part)
        trials += fold_trials
        alarms += fold_alarms
    confusion = Confusion.of(
        labels,
        [(clip.label, label) for clip, label in answers],
        speakers=(clip.speaker for clip, _ in answers),
        protocol=(
            f"{args.folds} folds of whole people, each heard by a model trained without them; the "
            "model kept was trained in the same way on all of them"
        ),
    )
    model = _fit(heard, config, args.steps, listener, without=set())
    model.save_pretrained(out / "model", force=True)
    confusion.save(out / "model", force=True)
    numbers = {**report(trials, alarms), "people": _people(sounds, speech)}
    numbers["tags_without_data"] = [tag for tag in PARALINGUISTIC_TAGS if not found[tag]]
    name = f"Whisper {args.whisper}" if args.whisper else "no recogniser"
    settings = (
        f"{name}, windows of {config.seconds} s; every sound with a tag by itself and in "
        f"{args.variants} recordings of speech"
    )
    words = story(numbers, args.hosts)
    print(write_card(out, confusion, answers, settings, more=numbers, words=words, truth="is"))


def _fit(
    heard: Sequence[Heard],
    config: StatisticsConfig,
    steps: int,
    listener: WhisperRecognizer | None,
    *,
    without: set[str],
) -> StatisticsClassifier:
    clips, vectors = [one.clip for one in heard], [one.vectors for one in heard]
    model = fit_statistics(clips, vectors, config, steps=steps, without=without, shares=_SHARES)
    model.ears = listener
    return model


def _answers(
    model: StatisticsClassifier, heard: Sequence[Heard], part: set[str]
) -> list[tuple[Clip, str]]:
    """What whole recordings of people left out are taken for."""
    whole = [one for one in heard if one.whole and one.clip.speaker in part]
    answers = [int(model.classify_vectors(one.vectors).argmax()) for one in whole]
    labels = model.config.labels
    return [(one.clip, labels[answer]) for one, answer in zip(whole, answers, strict=True)]


def _people(sounds: Sequence[Clip], speech: Sequence[Clip]) -> dict[str, int]:
    """How many people each label was learnt from."""
    every = {(clip.label, clip.speaker) for clip in (*sounds, *speech)}
    return dict(sorted(Counter(label for label, _ in every).items()))


if __name__ == "__main__":
    main()
