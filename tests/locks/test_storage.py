"""The lock in the storage: one holder at a time on any number of hosts, and no lock outlives its run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.files.storage import FileSystemStorage
from hypothesis import given, settings
from hypothesis import strategies as st

from igny8_backup.errors import LockedError
from igny8_backup.formats import keys, records
from igny8_backup.formats.documents.claims import LEASE, Claim
from igny8_backup.locks import storage as module
from igny8_backup.locks.storage import storage_lock
from igny8_backup.store import Store, open_store

HOSTS, ROUNDS = 4, 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "storage"
    found.mkdir()
    return found


@contextmanager
def held(folder: Path, host: str, state: str = "") -> Iterator[module.StorageLock]:
    """Hold the lock as a run of this host, which has a ``STATE_DIR`` of its own."""
    state_dir = folder.parent / (state or f"state of {host}")
    with (
        open_store(FileSystemStorage(location=folder), "igny8/") as store,
        storage_lock(store, None, host=host, state_dir=state_dir, doing="a backup") as lock,
    ):
        yield lock


def claims(folder: Path) -> list[Path]:
    return sorted((folder / "igny8/locks").glob("*.json"))


def age(path: Path, by: timedelta) -> None:
    then = path.stat().st_mtime - by.total_seconds()
    os.utime(path, (then, then))


def test_storage_lock_excludes_another_host_and_names_the_holder(folder: Path) -> None:
    with held(folder, "web-1"):
        with (
            pytest.raises(LockedError, match=r"a backup on host web-1, since 20\d\d-"),
            held(folder, "web-2"),
        ):
            raise AssertionError
        assert len(claims(folder)) == 1
    assert claims(folder) == []
    with held(folder, "web-2"):
        pass


def test_storage_lock_of_killed_run_expires_or_is_taken_over_by_its_own_host(folder: Path) -> None:
    with ExitStack() as killed:
        killed.enter_context(held(folder, "web-1"))
        (left,) = claims(folder)
        saved = left.read_bytes()
    leave(left, saved)
    with pytest.raises(LockedError), held(folder, "web-2"):
        raise AssertionError
    with held(folder, "web-1"):  # holds the lock of its host, so the other run is gone
        assert left not in claims(folder)
    leave(left, saved)
    age(left, LEASE + timedelta(seconds=5))
    with held(folder, "web-2"):
        assert left not in claims(folder)


def leave(claim: Path, content: bytes) -> None:
    """Write a claim again, which a killed run does not remove."""
    claim.parent.mkdir(exist_ok=True)
    claim.write_bytes(content)


def test_storage_lock_ignores_the_clocks_of_hosts(folder: Path) -> None:
    """The claim says that it is years old, but the storage says that it was written just now."""
    claim = Claim(
        schema=1,
        host="web-1",
        owner="another",
        doing="a backup",
        since=datetime(2001, 1, 1, tzinfo=UTC),
        renewed=datetime(2001, 1, 1, tzinfo=UTC),
    )
    path = folder / "igny8" / keys.lock_key("20010101T000000Z-000000")
    path.parent.mkdir(parents=True)
    path.write_bytes(records.to_json(claim))
    with pytest.raises(LockedError, match="web-1"), held(folder, "web-2"):
        raise AssertionError
    path.write_bytes(b"damaged")
    with pytest.raises(LockedError), held(folder, "web-2"):
        raise AssertionError
    assert path.exists()


def test_storage_lock_that_was_taken_over_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", -1.0)
    with held(folder, "web-1") as lock:
        lock.check()
        (claim,) = claims(folder)
        age(claim, LEASE + timedelta(seconds=5))  # the machine was suspended
        with held(folder, "web-2"), pytest.raises(LockedError, match="was lost.*Nothing was removed"):
            lock.check(unchanged="Nothing was removed.")


def test_storage_lock_is_renewed_by_a_thread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEWAL", timedelta(milliseconds=20))

    def another() -> Store:
        return open_store(FileSystemStorage(location=folder), "igny8/")

    with (
        another() as store,
        storage_lock(store, another, host="web-1", state_dir=folder.parent / "state", doing="a backup"),
    ):
        (claim,) = claims(folder)
        first = claim.read_bytes()
        age(claim, LEASE)
        _wait(lambda: claim.read_bytes() != first)
    assert claims(folder) == []


def test_storage_lock_released_claim_that_cannot_be_deleted_locks_nobody(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(folder, "web-1"):
        (claim,) = claims(folder)
        found = records.from_json(Claim, claim.read_bytes(), name="the claim", schema=1)
    with open_store(FileSystemStorage(location=folder), "igny8/") as store:
        store.put_small(f"locks/{claim.name}", records.to_json(found).replace(b"false", b"true"))
    with held(folder, "web-2"):
        pass


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_storage_lock_has_one_holder_when_hosts_claim_at_the_same_moment(folder: Path) -> None:
    """Several hosts ask for the lock again and again; each gets it, and never two at once."""
    inside: list[str] = []
    together: list[list[str]] = []
    together_at = threading.Barrier(HOSTS)

    def hold(host: str) -> bool:
        try:
            with held(folder, host):
                inside.append(host)
                time.sleep(0.002)
                if len(inside) > 1:
                    together.append(list(inside))
                inside.remove(host)
                return True
        except LockedError:
            time.sleep(0.005)
            return False

    def work(host: str) -> None:
        try:
            for _ in range(ROUNDS):
                together_at.wait()
                while not hold(host):
                    pass
        except BaseException:
            together_at.abort()  # so that the other hosts do not wait for this one
            raise

    with ThreadPoolExecutor(HOSTS) as pool:
        for done in [pool.submit(work, f"web-{number}") for number in range(HOSTS)]:
            done.result()
    assert together == [] and claims(folder) == []


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=20, max_size=60), st.permutations([1, 2, 3]))
def test_storage_lock_law_holds_for_every_interleaving(order: list[int], names: list[int]) -> None:
    """The protocol on a model of a storage, one request at a time in any order: never two holders."""
    stored: set[int] = set()
    holders: set[int] = set()

    def run(key: int) -> Iterator[None]:
        for _ in range(3):
            yield
            if stored - {key}:
                continue
            yield
            stored.add(key)
            while True:
                yield
                others = stored - {key}
                if not others:
                    holders.add(key)
                    assert len(holders) == 1
                    yield
                    holders.remove(key)
                    stored.remove(key)
                    break
                if min(others) < key:
                    stored.remove(key)
                    break

    runs = [run(name) for name in names]
    for number in order:
        next(runs[number], None)
