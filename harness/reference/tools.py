"""``export``, ``restore`` and ``migrate``: what is done with a data directory while no service runs on it."""

from __future__ import annotations

import argparse
import os
import sys

from harness.reference import backup
from harness.reference.config import Storage
from harness.reference.failures import BackupRefusedError, StartupRefusedError
from harness.reference.flags import turn_off_dual_memory
from harness.reference.service import MILESTONE, say
from harness.reference.store import Store
from harness.reference.wal import sync_directory


def run_word(options: argparse.Namespace) -> None:
    """Do it. Raises :class:`StartupRefusedError` with nothing changed."""
    try:
        (_export if options.word == "export" else _restore)(options)
    except OSError as error:
        raise StartupRefusedError(f"{error.filename or options.data_dir}: {error.strerror or error}") from None


def _export(options: argparse.Namespace) -> None:
    if not options.data_dir.is_dir():
        raise StartupRefusedError(f"--data-dir {options.data_dir}: no such directory")
    store = Store(options.data_dir, Storage(), _aside)
    store.recover(accept_damage=options.accept_damaged_log)
    raw = backup.document(store.spaces.values(), options.format, MILESTONE)
    if options.output is None:
        sys.stdout.buffer.write(raw + b"\n")
        sys.stdout.flush()
        return
    draft = options.output.with_name(f".{options.output.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(options.output)
    sync_directory(options.output.resolve().parent)
    say(f"exported {sum(map(len, store.spaces.values()))} memories to {options.output}")


def _restore(options: argparse.Namespace) -> None:
    try:
        memories = backup.read_document(options.backup.read_bytes())
    except BackupRefusedError as refused:
        raise StartupRefusedError(f"--backup {options.backup}: {refused}") from None
    store = Store(options.data_dir, Storage(), say)
    store.rewrite(memories)
    if options.word == "migrate":
        turn_off_dual_memory(options.data_dir / "flags.json")
    say(f"restored {len(memories)} memories from {options.backup}")


def _aside(message: str) -> None:
    sys.stderr.write(f"engram-reference: {message}\n")
