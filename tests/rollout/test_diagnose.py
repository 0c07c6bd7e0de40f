"""The bundle: whole where the target is, honest where it is not, and without a secret wherever one was planted."""

from __future__ import annotations

import base64
import json
import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest

from harness.cli import main
from harness.diagnosis import Redactor
from tests.rollout.stub import Engram, serving

KEY = "pl4nted/k+y=of-9f3a"


@pytest.fixture(autouse=True)
def _planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGRAM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("ENGRAM_API_KEY", KEY)
    monkeypatch.setenv("SLACK_WEBHOOK_URL", f"http://hooks.example/{KEY}")


def bundle_of(folder: Path) -> dict[str, str]:
    (path,) = folder.glob("*.tar.gz")
    with tarfile.open(path) as bundle:
        files = {m.name.partition("/")[2]: bundle.extractfile(m) for m in bundle.getmembers()}
        return {name: file.read().decode() for name, file in files.items() if file is not None}


def test_a_key_planted_everywhere_is_in_no_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / f"engram-{KEY.replace('/', '_')}.log"
    inside = base64.b64encode(f"user:{KEY}".encode()).decode()
    log.write_text(
        f"started with {KEY}\nAuthorization: Bearer {KEY}\nurl http://u:{KEY}@host/\n{quote(KEY, safe='')}\n"
        f"basic {inside}\napi_key = {KEY}\npassword: hunter2-other\n" + json.dumps({"k": KEY}) + "\n"
    )
    results = tmp_path / "results" / "session" / "case"
    results.mkdir(parents=True)
    (results / "ledger.jsonl").write_text(
        json.dumps({"entry": "intent", "body": KEY, "token": "another-secret"}) + "\n"
    )
    engram = Engram()
    engram.flags["cohort"] = KEY
    engram.flags["api_key"] = KEY
    with serving(engram) as url:
        where = ["--target", url, "--output", str(tmp_path / "out"), "--results-dir", str(tmp_path / "results")]
        code = main(["diagnose", *where, "--log", str(log), "--json"])
    assert code == 0
    said = capsys.readouterr().out
    parts = bundle_of(tmp_path / "out")
    text = "\n".join([*parts, *parts.values(), said])
    assert KEY not in text
    assert quote(KEY, safe="") not in text
    assert KEY.encode().hex() not in text
    assert inside not in text
    assert "hunter2" not in text
    assert "another-secret" not in text
    assert "dual_memory_types" in parts["flags.json"]
    assert any("started with ***" in value for value in parts.values())
    assert "metrics.txt" in json.loads(parts["missing.json"])  # the stub has none, and that is said


def test_a_dead_target_gives_a_bundle_that_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "--target", "http://127.0.0.1:1", "--output", str(tmp_path), "--json"]) == 0
    missing = json.loads(capsys.readouterr().out)["missing"]
    assert {"alive.json", "flags.json", "metrics.txt", "logs"} <= missing.keys()
    assert "versions.json" in bundle_of(tmp_path)


def test_a_place_that_cannot_be_written_is_unusable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    code = main(["diagnose", "--target", "http://127.0.0.1:1", "--output", str(tmp_path / "file")])
    assert code == 3
    assert "cannot write the bundle" in capsys.readouterr().err


@pytest.mark.parametrize("shift", range(6))
def test_a_secret_within_base64_is_found_wherever_it_begins(shift: int) -> None:
    redactor = Redactor({"X_TOKEN": KEY})
    encoded = base64.b64encode(b"a" * shift + KEY.encode() + b"tail").decode()
    assert encoded not in redactor.text(f"x {encoded} y")


def test_ordinary_words_stay() -> None:
    redactor = Redactor({"KEY": "abc", "PATH": "/usr/bin", "MY_SECRET": "not-to-be-shown"})
    assert redactor.text("abc in /usr/bin keeps its words") == "abc in /usr/bin keeps its words"
    assert redactor.text("so not-to-be-shown") == "so ***"
    assert redactor.value({"monkey": 3, "api_key": "x1y2z3", "n": [1, None]}) == {
        "monkey": 3,
        "api_key": "***",
        "n": [1, None],
    }
