"""The folder of a machine: made once, whoever comes first, and refused with a remedy."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from trust_fakes import store_in

from stepaudio.errors import SafetyError, SignatureError
from stepaudio.safety.audit import locked
from stepaudio.safety.content_credentials import _certificates
from stepaudio.safety.store import TrustStore, require_key

ROUNDS = 20


def first_use(folder: Path, together: Barrier) -> None:
    for number in range(ROUNDS):
        store = TrustStore(folder / str(number))
        together.wait(timeout=20)
        store.log.append("first")
        together.wait(timeout=20)
        _certificates(store)


@pytest.mark.skipif(os.name != "posix", reason="folders are locked on POSIX alone")
def test_two_processes_that_come_first(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    together = context.Barrier(2)
    both = [context.Process(target=first_use, args=(tmp_path, together)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    for number in range(ROUNDS):
        entries = TrustStore(tmp_path / str(number)).log.entries()
        assert [one.event for one in entries] == ["first", "first"]


def test_a_key_is_made_once(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert store.folder.exists() is False
    assert store_in(tmp_path).key.public == store.key.public
    assert store.folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEPAUDIO_TRUST_DIR", str(tmp_path / "file" / "trust"))
    with pytest.raises(SafetyError, match=r"file/trust cannot be used .* set STEPAUDIO_TRUST_DIR"):
        require_key()
    assert not TrustStore().is_own("0" * 64)  # looking needs none


def test_a_key_that_cannot_be_read(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    (store.folder / "signing_key.pem").mkdir(parents=True, mode=0o700)
    with pytest.raises(SafetyError, match="cannot be used"):
        _ = store.key


def test_errors_of_their_own_keep_their_type(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    _ = TrustStore(store.folder).key
    (store.folder / "signing_key.pem").chmod(0o644)
    with pytest.raises(SignatureError, match="chmod 600"):
        _ = store.key
    with pytest.raises(SignatureError), locked(store.folder):
        raise SignatureError("mine")
