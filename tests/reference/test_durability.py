"""What was acknowledged is there after a kill; what is damaged is never passed over in silence."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from harness.reference.frames import MAGIC, Scan, frame, read_frames
from tests.reference.conftest import Launch
from tests.reference.server import CONFIG, VECTORS, Server, run, wait_for

SMALL_LOGS = CONFIG + "[storage]\ncompact_min_mb = 0.05\ncompact_ratio = 1.0\n"


def _log(server: Server) -> Path:
    return max(server.data_dir.glob("log-*.bin"))


def _write_until_killed(server: Server, writer: int, acknowledged: dict[str, int], enough: threading.Event) -> None:
    """Keep replacing ten ids; note every acknowledged version."""
    with httpx.Client(base_url=server.client.base_url) as client:
        for version in range(10_000):
            memory_id = f"w{writer}-{version % 10}"
            body = {"id": memory_id, "content": f"version {version}", "embedding": VECTORS[version % len(VECTORS)]}
            try:
                reply = client.post("/api/v1/memories/remember", json=body)
            except httpx.TransportError:
                return
            assert reply.status_code == 201
            acknowledged[memory_id] = version
            if version == 60:
                enough.set()


@pytest.mark.parametrize("config", [CONFIG, SMALL_LOGS], ids=["one log", "compacting"])
def test_nothing_acknowledged_is_lost_to_a_kill(launch: Launch, config: str) -> None:
    server, acknowledged, enough = launch(config=config), dict[str, int](), threading.Event()
    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(_write_until_killed, server, i, acknowledged, enough) for i in range(3)]
        assert enough.wait(30)
        server.kill()
        for writer in writers:
            writer.result(30)
    server.start()
    for memory_id, version in acknowledged.items():
        content = server.client.get(f"/api/v1/memories/{memory_id}").json()["content"]
        # A newer one was in flight, and may have become durable before anybody was told.
        assert int(content.removeprefix("version ")) >= version


def test_compaction_bounds_what_is_on_disk(launch: Launch) -> None:
    server = launch(config=SMALL_LOGS + "commit_window_ms = 0\n")
    for version in range(150):
        server.remember("only", f"version {version}", embedding=VECTORS[0])

    def bounded() -> bool:
        server.remember("only", "version 150", embedding=VECTORS[0])  # compaction is considered after a write
        return sum(p.stat().st_size for p in server.data_dir.glob("*.bin")) < 150_000

    wait_for(bounded, "older files removed")
    assert max(server.data_dir.glob("snapshot-*.bin"))
    server.kill()
    server.start()
    assert server.client.get("/api/v1/memories/only").json()["content"] == "version 150"


def test_embeddings_tags_and_deletions_survive_a_restart(launch: Launch) -> None:
    server = launch()
    server.populate()
    server.remember("tagged", "wears tags", tags=["a", "b"], space="other")
    server.client.delete("/api/v1/memories/m5")
    before = server.client.get("/api/v1/memories/recall", params={"embedding": str(VECTORS[3])}).json()["memories"]
    assert server.stop() == 0
    server.start()
    wait_for(lambda: server.stats()["bindings"] == len(VECTORS) - 1, "bindings formed again")
    after = server.client.get("/api/v1/memories/recall", params={"embedding": str(VECTORS[3])}).json()["memories"]
    assert [i["id"] for i in after["vivid"]] == [i["id"] for i in before["vivid"]]
    assert server.client.get("/api/v1/memories/m5").status_code == 404
    assert server.client.get("/api/v1/memories/tagged", params={"space": "other"}).json()["tags"] == ["a", "b"]


def test_a_torn_tail_is_dropped_with_a_message(launch: Launch) -> None:
    server = launch()
    server.remember("first", "stays")
    server.remember("last", "is torn off")
    server.kill()
    path = _log(server)
    path.write_bytes(path.read_bytes()[:-3])
    server.start()
    assert "dropped an unfinished record" in server.output
    assert server.client.get("/api/v1/memories/first").status_code == 200
    assert server.client.get("/api/v1/memories/last").status_code == 404
    server.remember("next", "is appended cleanly")
    server.kill()
    server.start()
    assert server.client.get("/api/v1/memories/next").status_code == 200


@pytest.mark.parametrize("where", ["payload", "length"])
def test_damage_in_the_middle_is_refused_unless_accepted(launch: Launch, where: str) -> None:
    server = launch()
    server.remember("first", "stays")
    start = _log(server).stat().st_size
    server.remember("second", "is damaged")
    server.remember("third", "stays as well")
    server.kill()
    data = bytearray(_log(server).read_bytes())
    data[start + (40 if where == "payload" else 6)] ^= 0x10
    _log(server).write_bytes(data)
    refused = run("--port", "0", "--data-dir", str(server.data_dir))
    assert refused.returncode == 3
    assert f"damaged bytes at offset {start}" in refused.stderr
    assert "Traceback" not in refused.stderr
    server.arguments.append("--accept-damaged-log")
    server.start()
    statuses = [server.client.get(f"/api/v1/memories/{name}").status_code for name in ("first", "second", "third")]
    assert statuses == [200, 404, 200]
    assert "passed over as asked" in server.output


def test_a_damaged_snapshot_and_a_missing_log_are_refused(launch: Launch) -> None:
    server = launch(config=SMALL_LOGS + "commit_window_ms = 0\n")
    for version in range(40):
        server.remember("only", f"version {version}", embedding=VECTORS[0])
    wait_for(lambda: list(server.data_dir.glob("snapshot-*.bin")), "a snapshot")
    assert server.stop() == 0
    snapshot = max(server.data_dir.glob("snapshot-*.bin"))
    whole = snapshot.read_bytes()
    snapshot.write_bytes(whole[:-10])
    refused = run("--port", "0", "--data-dir", str(server.data_dir))
    assert (refused.returncode, "damaged" in refused.stderr) == (3, True)
    snapshot.write_bytes(whole)
    _log(server).unlink()
    refused = run("--port", "0", "--data-dir", str(server.data_dir))
    assert (refused.returncode, "log file is missing" in refused.stderr) == (3, True)


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_every_cut_of_the_last_frame_is_a_torn_tail(cut: int) -> None:
    data = MAGIC + frame(b"one") + frame(b"two" * 10)
    scan = Scan()
    assert list(read_frames(data[:-cut], scan)) == [b"one"]
    assert (scan.damage, scan.good_until) == ([], len(MAGIC + frame(b"one")))


def test_every_flipped_bit_before_the_last_frame_is_damage() -> None:
    data = MAGIC + frame(b"one") + frame(b"two")
    for offset in range(len(MAGIC), len(MAGIC + frame(b"one"))):
        broken = bytearray(data)
        broken[offset] ^= 0x01
        scan = Scan()
        assert list(read_frames(bytes(broken), scan)) == [b"two"]
        assert scan.damage == [(len(MAGIC), len(frame(b"one")))]
