"""The v1 names of cloned voices (golden ``sampling.json``, part ``voice_id``)."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from stepaudio.prompts import speaker_name_v1


def test_voice_names(golden_dir: Path, fill: ModuleType) -> None:
    cases = json.loads((golden_dir / "sampling.json").read_text(encoding="utf-8"))["voice_id"]
    assert cases
    for case in cases:
        source = re.fullmatch(r"inp: (\S+) std (\S+)", case["wav"])
        assert source is not None
        values = fill.gauss(source.group(1), math.prod(case["shape"])) * float(source.group(2))
        samples = torch.from_numpy(values.astype(np.float32).reshape(case["shape"]))
        assert speaker_name_v1(case["text"], samples) == case["voice_id"]
