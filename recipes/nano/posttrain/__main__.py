r"""The large-margin experiment, from feature folders to all numbers, in one command.

It goes on where it was stopped. Afterwards ``python -m recipes.nano.posttrain.page OUT`` writes the
page.

    python -m recipes.nano.posttrain runs/nano/data/features --lm runs/nano/lm \
        --emotion-judge runs/judges/emotion/model --test eval/manifest.jsonl -o runs/nano/posttrain
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from recipes.nano.posttrain import inputs
from recipes.nano.posttrain.plan import REFERENCE, Plan
from recipes.nano.posttrain.result import gather
from recipes.nano.posttrain.stages import Experiment, Ways
from recipes.nano.posttrain.trainings import Folders
from stepaudio.hub import CONFIG_FILE, write_atomic
from stepaudio.locate import locate
from stepaudio.parts import PIPELINE_FILE

__all__ = ["find_model", "main"]


def find_model(lm: str, pipeline: str | None) -> tuple[Path, Path, str | None]:
    """Where the language model and its text tokenizer are.

    Args:
        lm: folder of a pipeline, of the training ``train_lm`` (``model`` and ``text``), or of the
            language model alone.
        pipeline: folder of the other parts; None is that of ``lm``, or the embedded one.

    Returns:
        Folders of the model and of its text tokenizer, and the pipeline.

    Raises:
        ValueError: there is no language model.
    """
    folder = Path(lm)
    if (folder / PIPELINE_FILE).is_file():
        return folder / "lm", folder / "text", pipeline or lm
    if (folder / "model" / CONFIG_FILE).is_file():
        return folder / "model", folder / "text", pipeline
    if (folder / CONFIG_FILE).is_file():
        return folder, locate(pipeline) / "text", pipeline
    raise ValueError(f"{lm} holds no language model: neither {PIPELINE_FILE} nor {CONFIG_FILE}")


def main() -> None:
    """Run what is not there yet, and write ``result.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", nargs="+", help="folders with codes")
    parser.add_argument("--lm", required=True, help="the fine-tuned model to start from")
    parser.add_argument("--pipeline", help="the other parts (default: of --lm, or embedded)")
    parser.add_argument("--emotion-judge", required=True, help="folder of the classifier")
    parser.add_argument("--test", required=True, help="manifest of people never trained on")
    parser.add_argument("--test-sets", nargs="+", default=list(inputs.SETS))
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--minutes", type=float, default=REFERENCE, help="on two free cores")
    parser.add_argument("--seeds", type=int, default=Plan.seeds, help="of the margin experiment")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lm, text, pipeline = find_model(args.lm, args.pipeline)
    folders = Folders(Path(args.out), lm, pipeline)
    ways = Ways(
        tuple(args.features), text, args.test, args.emotion_judge, tuple(args.test_sets),
        args.workers,
    )  # fmt: skip
    plan = Plan.for_minutes(args.minutes, seeds=args.seeds)
    Experiment(folders, ways, plan).run()
    found = json.dumps(gather(folders, plan), indent=2, ensure_ascii=False) + "\n"
    path = folders.out / "result.json"
    write_atomic(path, lambda place: place.write_text(found, encoding="utf-8"), force=True)
    print(path)


if __name__ == "__main__":
    main()
