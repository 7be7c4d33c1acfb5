"""Measuring edits: metrics, judges, the edit benchmark and its reports.

- ``contracts``: what every metric and judge reads and says.
"""

from __future__ import annotations

from stepaudio.evaluation.contracts import Judge, Metric, ModelId, Sample, Verdict

__all__ = ["Judge", "Metric", "ModelId", "Sample", "Verdict"]
