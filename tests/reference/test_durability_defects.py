"""Each defect of durability loses what it says, and a healthy service loses nothing of the same."""

from __future__ import annotations

from tests.reference.conftest import Launch
from tests.reference.server import Server


def _status(server: Server, memory_id: str, space: str = "default") -> int:
    return server.client.get(f"/api/v1/memories/{memory_id}", params={"space": space}).status_code


def _written(server: Server, *names: str) -> None:
    for name in names:
        server.remember(name, f"the memory {name}")


def _crash(server: Server) -> None:
    server.kill()
    server.start()


def test_a_lost_tail(launch: Launch) -> None:
    server = launch("--defect", "lost_tail=2")
    _written(server, "a", "b", "c")
    _crash(server)
    assert [_status(server, name) for name in "abc"] == [200, 404, 404]
    _written(server, "d", "e")
    assert server.stop() == 0
    server.start()
    assert [_status(server, name) for name in "ade"] == [200, 200, 200], "an orderly stop loses nothing"


def test_the_second_generation_is_lost_to_the_second_crash(launch: Launch) -> None:
    server = launch("--defect", "second_generation_loss")
    _written(server, "a")
    _crash(server)
    assert _status(server, "a") == 200
    _written(server, "b")
    _crash(server)
    assert [_status(server, name) for name in "ab"] == [200, 404]


def test_deletes_are_resurrected_by_a_crash(launch: Launch) -> None:
    server = launch("--defect", "resurrected_deletes")
    _written(server, "a")
    assert server.client.delete("/api/v1/memories/a").status_code == 200
    assert _status(server, "a") == 404
    _crash(server)
    assert _status(server, "a") == 200


def test_a_write_leaks_into_another_space(launch: Launch) -> None:
    server = launch("--defect", "leaked_write=1")
    _written(server, "a")
    assert (_status(server, "a"), _status(server, "a", "elsewhere")) == (404, 200)


def test_every_nth_is_lost(launch: Launch) -> None:
    server = launch("--defect", "lost_nth=3")
    _written(server, *"abcdef")
    assert [_status(server, name) for name in "abcdef"] == [200, 200, 404, 200, 200, 404]


def test_a_healthy_one_loses_nothing_of_all_that(launch: Launch) -> None:
    server = launch()
    _written(server, "a", "b")
    server.client.delete("/api/v1/memories/b")
    _crash(server)
    _written(server, "c")
    _crash(server)
    assert [_status(server, name) for name in "abc"] == [200, 404, 200]
