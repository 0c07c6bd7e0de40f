"""Storage that fails: full, read-only, slow, lying, damaged, deleted; and power cuts."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HealFailed, UsageError
from harness.faults import disk_shim
from harness.faults.base import Fault
from harness.faults.catalogue import fault_from_json
from harness.faults.deleted_log import DeletedLog
from harness.faults.disk_full import DiskFull
from harness.faults.injection import Injection
from harness.faults.log_damage import DAMAGES, LogDamage
from harness.faults.lost_unsynced import LostUnsynced
from harness.faults.read_only_disk import ReadOnlyDisk
from harness.faults.recipe_local import RelinkRecipe, RestoreRecipe, WriteRecipe, file_digest
from harness.faults.slow_disk import SlowDisk
from harness.faults.sync_errors import SyncErrors
from tests.faults.family import Case

FAULTS: list[tuple[Fault, str]] = [
    (DiskFull(), "File too large"),
    (ReadOnlyDisk(), "Read-only file system"),
    (SyncErrors(), "Input/output error"),
    (SlowDisk(200.0), "a write is taken in"),
    (DeletedLog(), "the process writes on"),
    (LostUnsynced(), "never synced are gone"),
    (LogDamage("flipped", "middle"), "refusing to start"),
    (LogDamage("truncated", "middle"), "refusing to start"),
    (LogDamage("zeroed", "tail"), "is damaged"),
    (LogDamage("garbage", "tail"), "dropped an unfinished record"),
]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with Case(tmp_path_factory.mktemp("storage"), shim=True) as case:
        yield case


@pytest.mark.parametrize(("fault", "evidence"), FAULTS, ids=lambda v: v.describe() if isinstance(v, Fault) else "")
def test_effect_and_recovery_are_seen(fault: Fault, evidence: str, case: Case) -> None:
    if why := case.lacks(fault):
        pytest.skip(why)
    case.proves(fault, evidence)
    assert fault_from_json(fault.to_json()) == fault


def test_a_kill_is_no_power_cut_for_the_note_of_the_one_before(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = LostUnsynced()
    if why := case.lacks(fault):
        pytest.skip(why)
    assert case.run(fault).effective is not None
    monkeypatch.setattr(LostUnsynced, "inject_into", lambda self, target, client, ttl_s: target.kill())
    assert case.run(fault, effect_deadline_s=0.5).effective is None
    assert "nothing was cut back" in case.seen["effect_not_observed"]
    case.is_whole()


def test_what_was_written_to_a_deleted_log_is_kept(case: Case) -> None:
    with (
        Injection(DeletedLog(), case.target, case.ledger, hold_s=5, record=lambda *_, **__: None),
        case.target.client() as client,
    ):
        client.remember("written without a name", memory_id="nameless")
    case.inner.restart(kill=True)
    with case.target.client() as client:
        assert (client.memory("nameless") or {})["content"] == "written without a name"
        client.delete("nameless")


def test_a_power_cut_takes_what_was_never_synced(case: Case) -> None:
    log = max(case.inner.data_dir.glob("log-*.bin"))
    before = log.stat().st_size
    with log.open("ab") as file:
        file.write(b"never synced by the service")
    injection = case.run(LostUnsynced())
    assert injection.effective is not None
    assert injection.effective.evidence.endswith("27 bytes that were never synced are gone")
    assert log.stat().st_size == before
    case.is_whole()


def test_a_service_that_does_not_sync_is_caught_by_a_power_cut_alone(tmp_path: Path) -> None:
    with Case(tmp_path / "case", shim=True, defects=("never_synced",)) as case:
        case.inner.restart(kill=True)
        case.is_whole()  # the kernel writes what a killed process had written
        with case.target.client() as client:
            client.remember("acknowledged", memory_id="acknowledged")
        case.run(LostUnsynced())
        with case.target.client() as client:
            assert client.memory("acknowledged") is None


def test_an_earlier_copy_is_never_put_back_over_a_later_state(case: Case) -> None:
    case.run(LogDamage("flipped", "middle"))
    with case.target.client() as client:
        client.remember("later", memory_id="later")
    case.run(LogDamage("zeroed", "middle"))
    with case.target.client() as client:
        assert (client.memory("later") or {})["content"] == "later"
        client.delete("later")


@pytest.mark.parametrize("where", ["middle", "tail"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_where_it_is_meant_to_be(damage: str, where: str) -> None:
    whole = os.urandom(10_000)
    fault = LogDamage(damage, where)
    damaged = fault.damaged(whole)
    assert damaged == fault.damaged(whole) != whole
    assert damaged[:4_900] == whole[:4_900]
    if where == "middle":
        assert damaged[-4_800:] == whole[-4_800:]
    assert fault.harmless == damaged.startswith(whole)


def test_a_restore_is_exact_idempotent_and_leaves_a_running_server_alone(tmp_path: Path) -> None:
    log, copy, plan, lock = (tmp_path / name for name in ("log", "copy", "plan.json", "LOCK"))
    recipe = RestoreRecipe(str(plan), str(lock))
    assert recipe.apply() == "nothing was damaged"
    assert recipe.there() is False
    log.write_bytes(b"whole")
    copy.write_bytes(b"whole")
    plan.write_text(json.dumps({"files": {str(log): [str(copy), file_digest(log)]}}))
    log.write_bytes(b"broken")
    lock.write_bytes(b"")
    with lock.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert recipe.apply() == "left alone: a server has gone on from it"
        assert log.read_bytes() == b"broken"
    assert recipe.there() is True
    assert recipe.apply() == "1 files are as they were"
    assert recipe.apply() == "1 files are as they were"
    assert log.read_bytes() == b"whole"
    assert recipe.there() is False
    log.write_bytes(b"broken")
    copy.write_bytes(b"not what it was")
    with pytest.raises(HealFailed, match="the copy is not what it was"):
        recipe.apply()
    plan.write_text("{")
    with pytest.raises(HealFailed, match="cannot be read"):
        recipe.apply()


def test_a_name_is_given_back_once(tmp_path: Path) -> None:
    log, spare = tmp_path / "log", tmp_path / "spare"
    recipe = RelinkRecipe(str(log), str(spare))
    assert recipe.apply() == "it was never deleted"
    log.write_bytes(b"x")
    spare.hardlink_to(log)
    log.unlink()
    assert recipe.there()
    assert recipe.apply() == "it has its name back"
    assert log.read_bytes() == b"x"
    assert not spare.exists()


def test_orders_to_the_shim_are_taken_back_exactly(tmp_path: Path) -> None:
    control = tmp_path / "control.json"
    recipe = WriteRecipe(str(control), disk_shim.HEALTHY)
    assert recipe.apply() == "the control file is gone, and what it controlled"
    disk_shim.order(control, mode="slow", latency_ms=5)
    assert recipe.there()
    assert recipe.apply() == "written back"
    assert control.read_text() == disk_shim.HEALTHY
    assert not recipe.there()


def test_the_shim_fails_what_it_is_told_to(tmp_path: Path) -> None:
    control, path = tmp_path / "control.json", tmp_path / "file"
    shim = disk_shim.Shim(control)
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        shim.write(fd, b"before")
        shim.sync(fd, os.fsync)
        assert json.loads(disk_shim.synced_file(control).read_text()) == {str(path): 6}
        for orders, act, said in (
            ({"mode": "read_only"}, lambda: shim.write(fd, b"x"), "Read-only"),
            ({"mode": "read_only"}, lambda: shim.ftruncate(fd, 0), "Read-only"),
            ({"mode": "read_only"}, lambda: shim.open(path, os.O_WRONLY), "Read-only"),
            ({"mode": "full"}, lambda: shim.write(fd, b"x"), "No space"),
            ({"mode": "sync_error"}, lambda: shim.sync(fd, os.fsync), "Input/output"),
        ):
            disk_shim.order(control, **orders)
            with pytest.raises(OSError, match=said):
                act()
        disk_shim.order(control)
        shim.write(fd, b" after")
        assert path.read_bytes() == b"before after"
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "log_damage", "damage": "eaten"},
        {"kind": "log_damage", "where": "head"},
        {"kind": "disk_full", "spare_bytes": -1},
        {"kind": "slow_disk", "latency_ms": 0},
    ],
)
def test_a_dose_out_of_range_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        fault_from_json(bad)
