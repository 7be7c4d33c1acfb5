"""A judge of emotions from acted human speech, with its accuracy on actors it has not heard.

python -m recipes.judges.train_emotion eval/manifest.jsonl -o runs/judges/emotion
"""

from __future__ import annotations

import argparse
from collections import Counter

import torch

from recipes.judges.clips import read_clips
from recipes.judges.train import train_judge
from stepaudio.evaluation.clip_classifier import ClipClassifierConfig
from stepaudio.evaluation.judge_prompts import EMOTIONS

__all__ = ["LABELS", "main"]

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


def main(arguments: list[str] | None = None) -> None:
    """Train, measure and write the judge's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest")
    parser.add_argument("-o", "--out", required=True, help="nothing in it may be shipped")
    parser.add_argument("--sets", nargs="+", default=["ravdess", "tess", "nemo", "emodb"])
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=10.0, help="for each of folds + 1 models")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--debug", action="store_true", help="the smallest network")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    clips = read_clips(args.manifest, LABELS, sets=args.sets)
    found = Counter(clip.label for clip in clips)
    labels = [label for label in EMOTIONS if found[label]]
    make = ClipClassifierConfig.debug if args.debug else ClipClassifierConfig.release
    print(f"{len(clips)} recordings of {len({c.speaker for c in clips})} actors: {dict(found)}")
    confusion = train_judge(clips, make(labels), args.out, minutes=args.minutes, folds=args.folds)
    print(confusion.summary())
    print(confusion.markdown())


if __name__ == "__main__":
    main()
