"""The command ``stepaudio``: one small file per group of commands."""

from __future__ import annotations

from stepaudio.cli.app import app

__all__ = ["app"]
