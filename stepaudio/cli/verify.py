"""``stepaudio verify``: what a recording can prove about itself."""

from __future__ import annotations

import typer

from stepaudio.cli.options import AsJson, Recording
from stepaudio.cli.screen import tell

__all__ = ["verify"]

_COLOURS = {
    "good": typer.colors.GREEN,
    "bad": typer.colors.RED,
    "unknown": typer.colors.YELLOW,
    "said": None,
    "guess": None,
}


def verify(recording: Recording, as_json: AsJson = False) -> None:
    """Tell where a recording comes from, as far as that can be known.

    Exit code 1 if something was checked and does not hold.
    """
    from stepaudio.safety.store import TrustStore
    from stepaudio.safety.verification import verify as look

    verdict = look(recording, TrustStore())
    opinion = verdict.opinion
    values = {
        "command": "verify",
        "input": str(recording),
        "proven": verdict.proven,
        "contradicted": verdict.contradicted,
        "detector": {
            "label": opinion.label,
            "probability": opinion.probability,
            "spans": opinion.spans,
        },
        "findings": [
            {"topic": one.topic, "standing": one.standing, "words": one.words}
            for one in verdict.findings
        ],
    }
    lines = [
        f"{typer.style(f'{one.standing:8}', fg=_COLOURS[one.standing])} {one.words}"
        for one in verdict.findings
    ]
    tell(values, "\n".join(lines), as_json)
    if verdict.contradicted:
        raise typer.Exit(1)
