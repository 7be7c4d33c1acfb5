"""A judge of emotions from acted human speech, with its accuracy on actors it has not heard.

python -m recipes.judges.train_emotion eval/manifest.jsonl -o runs/judges/emotion
python -m recipes.judges.train_emotion eval/manifest.jsonl -o runs/judges/emotion_pairs --pairs
"""

from __future__ import annotations

import argparse
from collections import Counter

import torch

from recipes.judges.clips import Clip, read_clips
from recipes.judges.judge_card import strangers, write_card
from recipes.judges.train_statistics import hear_strangers, train_statistics_judge
from stepaudio.evaluation.judge_prompts import EMOTIONS
from stepaudio.evaluation.recognizer import WhisperRecognizer
from stepaudio.evaluation.statistics_classifier import StatisticsConfig

__all__ = ["LABELS", "READ", "main"]

#: What corpora call an emotion, to the words of the benchmark; disgust, boredom and others are not
#: in it and are left out.
LABELS = {
    "happy": "happy",
    "sad": "sad",
    "angry": "angry",
    "surprise": "surprised",
    "surprised": "surprised",
    "fear": "fear",
    "neutral": "natural",
    "calm": "natural",
}

#: Plain reading is natural too, and is what an editor mostly starts from. A judge that knows only
#: the natural takes of actors hears sadness in it.
READ = {"read": "natural"}
_READERS, _EACH = 12, 3


def _readers(clips: list[Clip]) -> list[Clip]:
    """A few recordings of a few readers, so that actors stay most of what is natural."""
    by: dict[str, list[Clip]] = {}
    for clip in clips:
        by.setdefault(clip.speaker, []).append(clip)
    names = sorted(by)
    chosen = names[:: max(1, len(names) // _READERS)][:_READERS]
    return [clip for name in chosen for clip in by[name][:_EACH]]


def main(arguments: list[str] | None = None) -> None:
    """Train, measure and write the judge's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest")
    parser.add_argument("-o", "--out", required=True, help="nothing in it may be shipped")
    parser.add_argument("--sets", nargs="+", default=["ravdess", "tess", "nemo", "emodb"])
    parser.add_argument("--read", help="manifest of read speech, natural to the judge")
    parser.add_argument("--read-sets", nargs="+", default=["librispeech"])
    parser.add_argument("--pairs", action="store_true", help="hear an edit against its source")
    parser.add_argument("--test", help="manifest of other people, asked about and not learnt from")
    parser.add_argument("--test-sets", nargs="+", default=["emodb"])
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--whisper", default="tiny.en", help="whose encoder listens; '' for none")
    parser.add_argument("--variants", type=int, default=1, help="of every recording")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--debug", action="store_true", help="the smallest network; with --whisper ''"
    )
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    clips = read_clips(args.manifest, LABELS, sets=args.sets)
    if args.read:
        clips += _readers(read_clips(args.read, READ, sets=args.read_sets))
    test = read_clips(args.test, LABELS, sets=args.test_sets) if args.test else []
    known = sorted({clip.speaker for clip in test} & {clip.speaker for clip in clips})
    if known:
        parser.error(f"--test has people of the training: {', '.join(known[:3])}")
    found = Counter(clip.label for clip in clips)
    labels = [label for label in EMOTIONS if found[label]]
    listener = WhisperRecognizer(args.whisper, threads=args.threads) if args.whisper else None
    if args.debug:
        config = StatisticsConfig.debug(labels, pairs=args.pairs)
    else:
        config = StatisticsConfig.release(labels, listener, pairs=args.pairs)
    print(f"{len(clips)} recordings of {len({c.speaker for c in clips})} speakers: {dict(found)}")
    confusion, answers = train_statistics_judge(
        clips, config, args.out, folds=args.folds, variants=args.variants, listener=listener
    )
    name = f"Whisper {args.whisper}" if args.whisper else "no recogniser"
    settings = f"{name}, every recording also varied {args.variants}×"
    if args.pairs:
        settings += ", each heard against a natural one of the same speaker"
    others = hear_strangers(test, args.out, listener) if test else []
    numbers, words = strangers(labels, others) if others else (None, "")
    print(write_card(args.out, confusion, answers, settings, more=numbers, words=words))


if __name__ == "__main__":
    main()
