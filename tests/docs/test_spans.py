"""No document names a command or an option that is not there, in its blocks or between them."""

from __future__ import annotations

import pytest

from tests.docs.blocks import OPERATIONS, OTHERS, ROOT, blocks_of
from tests.docs.spans import complaints, documents


@pytest.mark.parametrize("file", documents())
def test_every_option_that_a_document_names_is_there(file: str) -> None:
    assert not list(complaints((ROOT / file).read_text(encoding="utf-8")))


def test_every_document_with_commands_is_among_those_that_are_parsed() -> None:
    assert {file for file in documents() if blocks_of(file)} == {*OPERATIONS, *OTHERS}
    assert {file for file in documents() if file.startswith("docs/operations/")} >= set(OPERATIONS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("It takes `--time-scales`.", "line 1: nothing of ours has --time-scales"),
        ("`harness rollout watch --time-scal 60`", "nothing of ours has --time-scal"),  # argparse would complete it
        ("`harness rollout watch --engram-config F`", "it takes no --engram-config"),  # others do
        ("`harness rollout watches`", "harness rollout has no watches"),
        ("`harness flags got|set`", "harness flags has no got"),
        ("`make watchs`", "the Makefile has no target watchs"),
        ("`harness rollout plan [--phase X] [--plans F]`", "nothing of ours has --plans"),
    ],
)
def test_what_is_not_there_is_found(text: str, said: str) -> None:
    assert said in " ".join(complaints(text))


def test_what_is_there_is_let_pass() -> None:
    text = '`harness flags get|set`, `harness drill --target docker`, `make drills ARGS="-k rollback"`'
    assert not list(complaints(text))
