"""``stepaudio data``: from recordings to rows of ids, and from ratings to preference pairs."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepaudio.cli.options import AsJson, Force, Model
from stepaudio.cli.screen import Screen, tell
from stepaudio.cli.targets import check_target

if TYPE_CHECKING:
    from stepaudio.data.rows import ChatRow

__all__ = ["check", "pairs", "preferences", "rows", "signal"]

Manifest = Annotated[
    Path,
    typer.Argument(metavar="MANIFEST", help="JSON lines of recordings.", show_default=False),
]
Written = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="JSONL.", show_default=False)
]
Evaluation = Annotated[
    bool,
    typer.Option("--evaluation", help="Accept rows that may not train (train_ok is false)."),
]


def check(manifest: Manifest, as_json: AsJson = False) -> None:
    """Check every line of a manifest, and the records of consent, and count what it holds."""
    from stepaudio.data.manifest import consent_refusals, read_manifest

    found = read_manifest(manifest)
    refusals = consent_refusals(found)
    hours = sum(row.seconds or 0.0 for row in found) / 3600
    values: dict[str, Any] = {
        "command": "data check",
        "input": str(manifest),
        "recordings": len(found),
        "hours": round(hours, 3),
        "speakers": len({(row.set, row.speaker) for row in found if row.speaker}),
        "may_not_train": sum(not row.train_ok or row.consent in refusals for row in found),
        "consent_refusals": {name: str(error) for name, error in refusals.items()},
        "languages": dict(Counter(row.lang or "none" for row in found)),
        "licences": dict(Counter(row.licence or "none" for row in found)),
    }
    tell(
        values,
        f"{manifest}: {len(found)} recordings, {hours:.2f} h, {values['speakers']} speakers; "
        f"{values['may_not_train']} may not train"
        + "".join(f"\n{error}" for error in refusals.values()),
        as_json,
    )


def signal(
    manifest: Manifest,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", show_default=False, help="New.")
    ],
    kinds: Annotated[str, typer.Option(metavar="A,B,…", help="Which pairs.")] = (
        "speed,denoise,trim_silence"
    ),
    noises: Annotated[
        Path | None, typer.Option(metavar="MANIFEST", help="Recordings of noise.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of noises and rooms.")] = 0,
    evaluation: Evaluation = False,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Make speed, denoise and silence pairs of recordings; goes on where it was stopped."""
    target = output / "manifest.jsonl"
    check_target(target, force=force)
    from stepaudio.data.manifest import read_manifest, write_manifest
    from stepaudio.data.signal_pairs import make_signal_pairs

    recordings = read_manifest(manifest, training=not evaluation)
    beds = [] if noises is None else read_manifest(noises, training=not evaluation)
    with Screen() as screen:
        made = make_signal_pairs(
            recordings,
            output,
            kinds=kinds.split(","),
            noises=[row.path for row in beds],
            seed=seed,
            progress=lambda done: screen.count("recordings changed", done, len(recordings)),
        )
    write_manifest(target, made, force=force)
    values = {
        "command": "data signal",
        "input": str(manifest),
        "output": str(target),
        "changes": dict(Counter(row.change for row in made if row.change != "none")),
    }
    tell(values, f"wrote {target}: {len(made) - len(recordings)} changed recordings", as_json)


def pairs(
    manifest: Manifest,
    output: Written,
    select: Annotated[
        bool, typer.Option("--select", help="Rate emotion and style pairs, keep large margins.")
    ] = False,
    floor: Annotated[float, typer.Option(help="Least margin of every category, 1 to 10.")] = 6.0,
    threshold: Annotated[
        list[str] | None,
        typer.Option(metavar="CATEGORY=MARGIN", help="A higher one for a category; repeatable."),
    ] = None,
    scorer: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Margin scorer; the one that comes along.")
    ] = None,
    evaluation: Evaluation = False,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Find edit pairs: same speaker and words, and recordings made from one another."""
    check_target(output, force=force)
    from stepaudio.data.manifest import read_manifest
    from stepaudio.data.margin import MarginScorer
    from stepaudio.data.margin_selection import Thresholds, score_pairs, select_pairs
    from stepaudio.data.pairs import made_pairs, write_pairs
    from stepaudio.data.triplets import acted_triplets

    thresholds = Thresholds(floor, _numbers(threshold or []))
    recordings = read_manifest(manifest, training=not evaluation)
    found = acted_triplets(recordings) + made_pairs(recordings)
    values: dict[str, Any] = {
        "command": "data pairs",
        "input": str(manifest),
        "output": str(output),
        "found": len(found),
    }
    if select:
        rater = MarginScorer.embedded() if scorer is None else MarginScorer.from_pretrained(scorer)
        with Screen() as screen:
            follow = partial(screen.count, "recordings listened to")
            rated = score_pairs(found, recordings, rater, progress=follow)
        found, counts = select_pairs(rated, thresholds)
        values["categories"] = {name: asdict(count) for name, count in counts.items()}
    write_pairs(output, found, force=force)
    values["pairs"] = len(found)
    tell(values, f"wrote {output}: {len(found)} of {values['found']} pairs", as_json)


def rows(
    manifest: Manifest,
    shards: Annotated[
        Path, typer.Argument(metavar="SHARDS", help="Its codes.", show_default=False)
    ],
    output: Written,
    edits: Annotated[
        Path | None, typer.Option(metavar="PAIRS", help="Edit pairs, from 'data pairs'.")
    ] = None,
    zero_shot: Annotated[
        bool, typer.Option("--zero-shot", help="Every recording in the voice of another one.")
    ] = False,
    text: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSONL of prompt and completion, 1:1 with sound."),
    ] = None,
    longest: Annotated[int | None, typer.Option(min=1, help="Ids of a row at most.")] = None,
    seed: Annotated[int, typer.Option(help="Of the voices and of the mix with text.")] = 0,
    model: Model = None,
    evaluation: Evaluation = False,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Write chat rows of ids for training, in the prompts of the model."""
    check_target(output, force=force)
    from stepaudio.data.manifest import read_manifest
    from stepaudio.data.mixing import one_to_one
    from stepaudio.data.pairs import read_pairs
    from stepaudio.data.rows import edit_rows, read_texts, text_row, write_rows
    from stepaudio.data.shards import TokenShards
    from stepaudio.data.zero_shot import zero_shot_rows
    from stepaudio.errors import DataError
    from stepaudio.locate import locate
    from stepaudio.parts import load_defaults, load_part

    recordings = read_manifest(manifest, training=not evaluation)
    codes = TokenShards(shards)
    folder = locate(model)
    tokenizer, layout = load_part(folder, "text"), load_defaults(folder).layout
    allowed = {row.id for row in recordings}
    made: list[ChatRow] = []
    counts: dict[str, int] = {}
    if edits is not None:
        wanted = [p for p in read_pairs(edits) if {p.before, p.after} <= allowed]
        made, counts = edit_rows(tokenizer, wanted, codes, longest=longest, layout=layout)
    if zero_shot:
        speech = zero_shot_rows(
            tokenizer, recordings, codes, seed=seed, longest=longest, layout=layout
        )
        made, counts = made + speech, {**counts, "zero-shot": len(speech)}
    if text is not None:
        chats = [text_row(tokenizer, *pair) for pair in read_texts(text)]
        chats = [row for row in chats if longest is None or len(row) <= longest]
        if edits is None and not zero_shot:
            made, counts = chats, {"text": len(chats)}
        else:
            try:
                made, mixed = one_to_one(chats, made, tokenizer.token_id("<audio_0>"), seed=seed)
            except DataError as error:
                raise DataError(f"{text}: {error}") from error
            counts = {**counts, **mixed}
    write_rows(output, made, force=force)
    values = {
        "command": "data rows",
        "input": str(manifest),
        "output": str(output),
        "rows": len(made),
        "ids": sum(map(len, made)),
        **counts,
    }
    line = f"wrote {output}: {len(made)} rows, {values['ids']} ids"
    if "audio tokens" in counts:
        line += f"; {counts['text tokens']} tokens of text to {counts['audio tokens']} of audio"
    tell(values, line, as_json)


def preferences(
    ratings: Annotated[
        Path,
        typer.Argument(metavar="RATINGS", help="JSON lines of rated answers.", show_default=False),
    ],
    output: Written,
    human: Annotated[float, typer.Option(help="People's ratings must differ by more.")] = 3.0,
    judge: Annotated[float, typer.Option(help="A judge's ratings must differ by more.")] = 8.0,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Turn rated answers into preference pairs, and tell what each threshold leaves."""
    check_target(output, force=force)
    from stepaudio.data.preferences import (
        preference_pairs,
        read_ratings,
        survivors,
        write_preferences,
    )

    answers = read_ratings(ratings)
    found = preference_pairs(answers, thresholds={"human": human, "judge": judge})
    write_preferences(output, found, force=force)
    values = {
        "command": "data preferences",
        "input": str(ratings),
        "output": str(output),
        "answers": len(answers),
        "pairs": dict(Counter(pair.origin for pair in found)),
        "survivors": {
            "human": survivors(answers, "human", sorted({0.0, 1.0, 2.0, 2.5, 3.0, 3.5, human})),
            "judge": survivors(answers, "judge", sorted({0.0, 2.0, 4.0, 6.0, 7.0, 8.0, judge})),
        },
    }
    tell(values, f"wrote {output}: {len(found)} pairs of {len(answers)} answers", as_json)


def _numbers(given: list[str]) -> dict[str, float]:
    numbers = {}
    for one in given:
        name, _, value = one.partition("=")
        try:
            numbers[name] = float(value)
        except ValueError:
            raise typer.BadParameter(
                f"{one!r} is not CATEGORY=MARGIN, such as emotion:happy=7.",
                param_hint="--threshold",
            ) from None
    return numbers
