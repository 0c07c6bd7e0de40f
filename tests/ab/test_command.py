"""``harness ab`` as a user meets it: tables, runs, nights, nonsense; its exit codes and its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli import main
from harness.timeline.jsonl import write_json_atomically

Tables = dict[str, str]
Capture = pytest.CaptureFixture[str]


def write_table(path: Path, *, slower: float = 1.0, errors: float = 0.001, n: int = 24_000, seed: int = 1) -> Path:
    rng = np.random.default_rng(seed)
    users, at = rng.integers(0, n // 10, n), np.sort(rng.uniform(0, 3600, n))
    latency = 80 * slower * np.exp(0.4 * rng.standard_normal(n))
    failed = rng.random(n) < errors
    rows = zip(at, users, latency, failed.astype(int), strict=True)
    path.write_text("t,user,latency_ms,error\n" + "\n".join(f"{t:.3f},u{u},{v:.4f},{e}" for t, u, v, e in rows))
    return path


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tables")
    made = {
        "control": write_table(folder / "control.csv"),
        "same": write_table(folder / "same.csv", seed=2),
        "slow": write_table(folder / "slow.csv", slower=1.2, seed=3),
        "failing": write_table(folder / "failing.csv", errors=0.02, seed=4),
        "short": write_table(folder / "short.csv", n=300, seed=5),
    }
    return {name: str(path) for name, path in made.items()}


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = main(["ab", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("canary", "code", "worst"), [("same", 0, ""), ("slow", 1, "P99 recall latency"), ("failing", 1, "error rate")]
)
def test_two_tables(
    tables: dict[str, str], capsys: pytest.CaptureFixture[str], canary: str, code: int, worst: str
) -> None:
    found = answer(capsys, "analyze", tables["control"], tables[canary])
    assert found[0] == code
    assert {row["metric"] for row in found[1]["rows"] if row["verdict"] == "FAIL"} == ({worst} if worst else set())
    assert all(row["change"]["interval95"]["low"] is not None for row in found[1]["rows"])
    assert any("would be seen" in line for line in found[1]["power"])


def test_a_short_sample_is_undecided_and_says_what_would_decide(
    tables: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = answer(capsys, "analyze", tables["short"], tables["short"])
    assert code == 4
    assert "below the runbook's minimum" in " ".join(found["power"])
    assert main(["ab", "analyze", tables["short"], tables["short"]]) == 4
    assert "[UNDECIDED]" in capsys.readouterr().out


@pytest.mark.parametrize(("canary", "worst"), [("same", ""), ("slow", "P99 recall latency"), ("failing", "error rate")])
def test_a_growing_record_may_be_looked_at_again_and_again(
    tables: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path, canary: str, worst: str
) -> None:
    page = tmp_path / "page.html"
    words = ["analyze", tables["control"], tables[canary], "--method", "watched"]
    code, found = answer(capsys, *words, "--out", str(page))
    rows = {row["metric"]: row for row in found["rows"]}
    assert {name for name, row in rows.items() if row["verdict"] == "FAIL"} == ({worst} if worst else set())
    assert (code == 1) == bool(worst)
    assert {row["method"] for row in rows.values()} == {"anytime-valid"}
    assert "judge them once" in " ".join(found["notes"])
    assert "error rate" in page.read_text(encoding="utf-8")
    assert main(["ab", *words]) == code


def test_a_watched_record_without_instants_says_so(
    tables: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bare = tmp_path / "bare.csv"
    lines = Path(tables["failing"]).read_text(encoding="utf-8").splitlines()
    bare.write_text("\n".join(line.partition(",")[2] for line in lines), encoding="utf-8")
    code, found = answer(capsys, "analyze", str(bare), str(bare), "--method", "watched")
    row = next(row for row in found["rows"] if row["metric"] == "error rate")
    assert (code, row["verdict"]) == (4, "INCONCLUSIVE")
    assert "when the requests were made" in row["note"]


def test_the_runbooks_method_is_reproduced_and_marked(
    tables: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = answer(capsys, "analyze", tables["control"], tables["slow"], "--method", "runbook")
    assert code == 1
    welch = found["rows"][0]
    assert (welch["method"], welch["verdict"]) == ("runbook", "FAIL")
    assert "Cohen's d" in welch["note"]
    assert "79 %" in welch["false_alarms"]


def test_one_table_with_cohorts_and_the_runbooks_single_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(6)
    lines = [f"{c},{u},{v:.3f}" for c in ("control", "treatment") for u in range(60) for v in rng.lognormal(3, 0.2, 50)]
    (tmp_path / "both.csv").write_text("cohort,user_id,latency\n" + "\n".join(lines))
    code, found = answer(capsys, "analyze", str(tmp_path / "both.csv"))
    assert (code, found["rows"][0]["canary"]["samples"]) == (0, 3000)  # the floor of 5 ms decides
    for name in ("control", "canary"):
        values = "\n".join(f"{v:.2f}" for v in 200 + rng.normal(0, 1, 168))
        (tmp_path / f"{name}_p99_latencies.csv").write_text(f"p99\n{values}\n")
    files = [str(tmp_path / f"{name}_p99_latencies.csv") for name in ("control", "canary")]
    code, found = answer(capsys, "analyze", *files)
    assert (code, found["rows"][0]["metric"]) == (0, "P99 latency, mean of the series")
    assert any("percentiles of stretches" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no header"),
        ("1.5\n2.5\n", "has no header"),
        ("latency_ms\n", "holds no rows"),
        ("latency_ms\nfast\n", "line 2: latency_ms is no number: 'fast'"),
        ("latency_ms,user\n1.0\n", "line 2: 1 cells, not 2"),
        ("size,colour\n1,2\n", "no column of latencies"),
        ("cohort,latency\nblue,1\n", "no such cohort: 'blue'"),
        ("latency,latency\n1,2\n", "names a column twice"),
        ("latency_ms\n1\n2\n", "one arm is missing"),
        ("\x00\x01", "holds no rows"),
    ],
)
def test_a_table_that_is_none_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    assert main(["ab", "analyze", str(path)]) == 3
    said = capsys.readouterr().err
    assert told in said
    assert len(said.splitlines()) <= 2


def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, tables: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ["analyze", str(tmp_path / "nowhere.csv")],
        ["analyze", str(tmp_path), tables["control"]],
        ["analyze", tables["control"], str(tmp_path)],
        ["analyze", str(tmp_path)],
        ["analyze", tables["control"], tables["same"], "--method", "guess"],
        ["plan", "--rate", "0", "--canary", "0.05"],
        ["plan", "--rate", "10", "--canary", "5"],
        ["compare", "--history", str(tmp_path / "none")],
        ["compare", tables["control"]],
        ["compare", tables["control"], tables["same"], "--history", str(tmp_path / "h")],
    ):
        with pytest.raises(SystemExit) if "guess" in arguments else _nothing():
            assert main(["ab", *arguments]) == 3, arguments
        assert capsys.readouterr().err
    assert not (tmp_path / "h").exists()


class _nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def test_the_page_holds_both_distributions_and_no_script(tables: dict[str, str], tmp_path: Path) -> None:
    page = tmp_path / "deep" / "ab.html"
    assert main(["ab", "analyze", tables["control"], tables["slow"], "--out", str(page)]) == 1
    text = page.read_text()
    assert text.count("<svg") == 3
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert "Worse than allowed" in text


def test_a_plan_says_what_a_sample_decides(tables: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    code, found = answer(capsys, "plan", "--rate", "200", "--canary", "0.05")
    assert code == 0
    needed = {row["question"]: row["canary_requests"] for row in found["decisions"]}
    assert needed["a P99 of +15 % is too much"] < needed["identical arms keep P99 within 5%"]
    assert needed["a P99 of +5%, on the margin, is too much or not"] is None
    code, piloted = answer(capsys, "plan", "--rate", "200", "--canary", "0.05", "--pilot", tables["control"])
    assert "control.csv" in piloted["assumed"]


def result(path: Path, p99: float, rate: float = 1000.0) -> str:
    write_json_atomically(
        path,
        {
            "latency": {"p50_ms": p99 / 3, "p95_ms": p99 / 1.5, "p99_ms": p99},
            "throughput": {"ops_per_sec": rate},
            "errors": {"total": 0, "error_rate": 0.0},
            "operations": {"total": 60_000},
            "open_loop": True,
        },
    )
    return str(path)


def test_nights_are_kept_and_judged_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = ["--history", str(tmp_path / "history")]
    rng = np.random.default_rng(7)
    for night in range(1, 7):
        runs = [
            result(tmp_path / f"{side}.json", 20 * slow * rng.lognormal(0, 0.02))
            for side, slow in (("a", 1), ("b", 1.2))
        ]
        code, found = answer(capsys, "compare", *runs, *history, "--date", f"2025-11-{night:02d}")
    assert (code, len(found["nights"])) == (1, 6)
    p99 = next(row for row in found["together"]["rows"] if row["metric"].startswith("P99"))
    assert (p99["verdict"], found["together"]["pairs"]) == ("FAIL", 6)
    assert main(["ab", "compare", *runs, *history, "--date", "2025-11-06"]) == 3
    assert "kept already" in capsys.readouterr().err
    assert main(["ab", "compare", *history]) == 1
    assert capsys.readouterr().out.count("2025-11-") == 6
