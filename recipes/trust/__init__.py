"""Measurements behind the safety features."""

from __future__ import annotations
