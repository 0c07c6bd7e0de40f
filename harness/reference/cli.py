"""The command line of the reference Engram."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import orjson

from harness.reference.config import load_config
from harness.reference.defects import listing, parse_defects
from harness.reference.failures import StartupRefusedError

EXIT_UNUSABLE = 3


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_UNUSABLE, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="engram-reference", description="A small, honest Engram to practise drills on.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=7432, help="port to listen on; 0 picks a free one")
    parser.add_argument("--data-dir", type=Path, help="where log, snapshot and flags are kept")
    parser.add_argument("--config", type=Path, help="engram.toml; without one the defaults hold")
    parser.add_argument("--port-file", type=Path, help="write the port here once listening")
    parser.add_argument("--defect", action="append", default=[], metavar="NAME[=M]", help="be born with this bug")
    parser.add_argument("--list-defects", action="store_true", help="list the known defects and stop")
    parser.add_argument("--json", action="store_true", help="with --list-defects: as JSON")
    parser.add_argument(
        "--accept-damaged-log", action="store_true", help="start without the records a damaged log has lost"
    )
    _add_words(parser)
    return parser


def _add_words(parser: argparse.ArgumentParser) -> None:
    """What is done with a data directory while no service runs on it."""
    words = parser.add_subparsers(dest="word", metavar="WORD", required=False)
    export = words.add_parser("export", help="write every memory to a backup")
    export.add_argument("--format", choices=("dual_memory", "single_memory"), default="dual_memory")
    export.add_argument("--output", type=Path, metavar="F", help="where to (default: standard output)")
    export.add_argument("--accept-damaged-log", action="store_true", help="export what a damaged log still holds")
    restore = words.add_parser("restore", help="make the data directory exactly what a backup holds")
    migrate = words.add_parser("migrate", help="restore a backup, with dual memory off from then on")
    migrate.add_argument("--to", choices=("single_memory",), required=True)
    for word in (restore, migrate):
        word.add_argument("--backup", type=Path, required=True, metavar="F")
    for word in (export, restore, migrate):
        word.add_argument("--data-dir", type=Path, required=True)


def _list_defects(as_json: bool) -> None:
    if as_json:
        sys.stdout.write(orjson.dumps(listing(), option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    for entry in listing():
        default = "" if entry["default"] is None else f"={entry['default']:g} {entry['unit']}"
        sys.stdout.write(f"{entry['name']}{default}\n    {entry['meaning']}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service; 0 after a clean stop, 3 when it cannot start."""
    options = _parser().parse_args(arguments)
    if options.list_defects:
        _list_defects(options.json)
        return 0
    try:
        if options.word is not None:
            from harness.reference.tools import run_word

            run_word(options)
            return 0
        return _run(options)
    except StartupRefusedError as refusal:
        sys.stderr.write(f"engram-reference: {refusal}\n")
        return EXIT_UNUSABLE


def _run(options: argparse.Namespace) -> int:
    if options.data_dir is None:
        raise StartupRefusedError("--data-dir is required")
    if not 0 <= options.port <= 65535:
        raise StartupRefusedError(f"--port {options.port}: must be from 0 to 65535")
    config = load_config(options.config)
    defects = parse_defects(options.defect, seed=max(0, config.chaos.chaos_seed))
    # Only now: a mistake on the command line should be told before numpy and friends are loaded.
    import uvloop

    from harness.reference.service import Options, build, claim, say, serve

    checked = Options(options.host, options.port, options.data_dir, options.port_file, options.accept_damaged_log)
    listener = claim(checked.host, checked.port)
    with listener:
        core = build(config, defects, checked, os.environ)
        if defects.any:
            say(f"born with defects: {', '.join(defects.names())}")
        uvloop.run(serve(core, listener, checked))
    return 0
