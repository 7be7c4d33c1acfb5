"""``python -m stepaudio`` is the command ``stepaudio``."""

from __future__ import annotations

from stepaudio.cli import app

if __name__ == "__main__":
    app(prog_name="stepaudio")
