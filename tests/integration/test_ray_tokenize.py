"""Two workers of a local Ray cluster write what one process writes, byte for byte."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import debug_parts as debug
import pytest

from stepaudio.data.manifest import Utterance
from stepaudio.data.ray_tokenize import tokenize_on_ray
from stepaudio.data.tokenize import tokenize_corpus
from stepaudio.errors import DataError
from stepaudio.tokenizers.dual import DualCodebookTokenizer

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
        yield
        ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.filterwarnings("ignore")
def test_two_workers_write_what_one_process_writes(tmp_path: Path) -> None:
    debug.debug_parts().tokenizer.save_pretrained(tmp_path / "tokenizer")
    build = partial(DualCodebookTokenizer.from_pretrained, tmp_path / "tokenizer")
    rows = []
    for number in range(7):
        path = tmp_path / f"{number}.wav"
        debug.speech(0.3 + 0.1 * number, seed=number).save(path)
        rows.append(Utterance(f"r{number}", str(path)))
    Path(rows[4].path).write_bytes(b"noise")
    told: list[int] = []
    here = tokenize_corpus(rows, build(), tmp_path / "here", per_shard=2)
    there = tokenize_on_ray(
        rows,
        build,
        tmp_path / "there",
        workers=2,
        per_shard=2,
        progress=lambda done, total: told.append(done),
    )
    assert {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()
    }
    assert len(there) == len(here) == 6
    assert sorted(told) == told
    assert told[-1] == 7
    # A cluster refuses what one process refuses.
    with pytest.raises(DataError, match="other recordings"):
        tokenize_on_ray(rows[1:], build, tmp_path / "there", workers=2, per_shard=2)
