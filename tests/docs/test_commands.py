"""The commands of the documents: each goes through the real parser, and what can run in seconds is run."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli import main
from harness.targets.embedded import EmbeddedTarget
from tests.docs.blocks import OPERATIONS, OTHERS, ROOT, Block, blocks_of
from tests.docs.commands import complaint
from tests.docs.long import NEWEST, long_blocks
from tests.engram.stub import Stub, http, routes

BLOCKS = [block for file in OPERATIONS for block in blocks_of(file)]
FREE = [block for block in BLOCKS if block.how == "run" and block.needs != "engram"]
SERVED = [block for block in BLOCKS if block.how == "run" and block.needs == "engram"]


@pytest.mark.parametrize("file", OPERATIONS + OTHERS)
def test_every_command_is_one_we_have_with_options_it_takes(file: str) -> None:
    blocks = blocks_of(file)
    assert blocks
    wrong = [
        f"{b.name}: {' '.join(words)}: {why}" for b in blocks for words in b.commands() if (why := complaint(words))
    ]
    assert not wrong, wrong


def test_the_readme_names_every_target_that_make_help_lists() -> None:
    said = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"(?m)^([\w-]+):", said)
    assert {"drills", "docs-commands", "fail-closed"} <= set(targets)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [name for name in targets if not re.search(rf"`?make {re.escape(name)}(?![\w-])", readme)]


def test_what_is_only_parsed_here_is_run_by_make_docs_commands_or_needs_a_cluster() -> None:
    left = {block.name for block in BLOCKS} - {block.name for block in (*FREE, *SERVED, *long_blocks())}
    needs_cluster = {block.name for block in BLOCKS if block.needs.startswith("needs a cluster")}
    assert left == needs_cluster
    assert len(needs_cluster) <= 3
    placeholders = dict.fromkeys(NEWEST, "results")
    for block in long_blocks():
        for words in block.commands(placeholders):  # as it is run: shortened, with what earlier commands left
            assert not complaint(words), f"{block.name}: {' '.join(words)}: {complaint(words)}"


def test_every_block_of_the_operations_documents_says_how_it_is_tested() -> None:
    assert not [b.name for b in BLOCKS if b.how not in ("run", "parse")]
    assert not [b.name for b in BLOCKS if b.how == "parse" and len(b.needs) < 4], "why is it not run?"
    assert len(FREE) + len(SERVED) >= 15


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("harness rollout ramp 0.5 --targt x", "required: --target"),
        ("harness rollout gate 5 --evidnce x", "--evidnce"),
        ("harness rollouts plan", "invalid choice"),
        ("harness rollout gate", "required"),
        ("harness drill --profil ci", "--profil"),
        ("pytest drills/phase7", "no drills/phase7"),
        ("make dril", "no target dril"),
        ("make drills PROFIL=ci", "no variable PROFIL"),
        ("engram migrate", "no command of ours"),
    ],
)
def test_a_renamed_option_is_found(words: str, said: str) -> None:
    assert said in complaint(words.split())


def run(block: Block, environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    codes = []
    for words in block.commands(environment):
        assert words[0] == "harness", f"{block.name}: only our own commands are run"
        codes.append(main(words[1:]))
    said = capsys.readouterr()
    assert codes[:-1] == [0] * (len(codes) - 1), f"{block.name}: {codes}\n{said.out[-2000:]}{said.err[-2000:]}"
    assert codes[-1] == block.code, f"{block.name}: {codes}\n{said.out[-2000:]}{said.err[-2000:]}"


@pytest.mark.parametrize("block", FREE, ids=lambda block: block.name)
def test_a_block_that_needs_nothing_runs(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    run(block, {}, capsys)


@pytest.fixture(scope="module")
def engram(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedTarget]:
    """A reference in shadow mode, with enough in it for concepts and bindings."""
    config = "[features]\nblended_recall = false\nfan_effect = false\n[consolidation]\ninterval_seconds = 0.1\n"
    with EmbeddedTarget(tmp_path_factory.mktemp("engram"), config_text=config) as target:
        with target.client() as client:
            for number in range(24):
                vector = [0.0] * 768
                vector[0], vector[1 + number] = 1.0, 0.7
                client.remember(f"memory {number}", memory_id=f"memory-{number}", embedding=vector)
        yield target


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader of the document stands: what one block writes, a later one finds."""
    folder = tmp_path_factory.mktemp("desk")
    for kept in ("results/shadow", "results/phase0"):
        (folder / kept).mkdir(parents=True)
    (folder / "incidents.toml").write_text("[covers]\nshadow = 604800.0\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def prometheus() -> Iterator[str]:
    """A Prometheus that has recorded nothing."""
    nothing = b'{"status": "success", "data": {"resultType": "matrix", "result": []}}'
    build = b'{"status": "success", "data": {"version": "2.48.0"}}'
    now = b'{"status": "success", "data": {"resultType": "scalar", "result": [1764000000, "1764000000"]}}'
    rules = b'{"status": "success", "data": {"groups": []}}'
    table = {"/api/v1/status/buildinfo": build, "/api/v1/query": now, "/api/v1/rules": rules}
    every = {f"{method} {path}": http(200, body) for method in ("GET", "POST") for path, body in table.items()}
    with Stub(routes(every, http(200, nothing))) as stub:
        yield stub.url


@pytest.mark.parametrize("block", SERVED, ids=lambda block: block.name)
def test_a_block_runs_against_an_engram(
    block: Block,
    engram: EmbeddedTarget,
    prometheus: str,
    desk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(desk)
    run(block, {"ENGRAM": engram.base_url, "PROMETHEUS": prometheus}, capsys)


def test_the_table_names_commands_and_tests_that_exist() -> None:
    text = (ROOT / OPERATIONS[1]).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|") and "tests/" in line]
    assert len(rows) >= 14
    for row in rows:
        section, commands, tests = (cell.strip() for cell in row.strip("|").split("|"))
        assert section
        for path in re.findall(r"`(tests/[^`]+)`", tests):
            assert (ROOT / path).is_file(), f"{section}: there is no {path}"
        for command in re.findall(r"`([^`]+)`", commands):
            found = complaint(command.split())
            assert not found or "required" in found, f"{section}: {command}: {found}"
