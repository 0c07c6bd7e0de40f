"""What measured documents say of the commit and the machine."""

from __future__ import annotations

from tests.provenance import Provenance, told


def test_the_sentence_names_commit_load_and_noise() -> None:
    late_ms = [0.1] * 98 + [4.0, 9.0]
    assert told("abc1234+", 2, [1.2, 0.3, 0.8], late_ms) == (
        "Commit abc1234+, 2 processors; load average 0.3 to 1.2 (in the middle 0.8); "
        "a sleeper of 10 ms was woken 0.1 ms late (p99 9.0 ms)."
    )
    assert told("unknown", 4, [], []) == "Commit unknown, 4 processors."


def test_the_shortest_measurement_has_a_load() -> None:
    with Provenance() as machine:
        pass
    assert machine.sentence.startswith(f"Commit {machine.commit}, ")
    assert "load average" in machine.sentence
