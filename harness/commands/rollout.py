"""``harness rollout``: the family's parser; each of its sub-commands stands in a module of its own."""

from __future__ import annotations

from typing import Any

from harness.commands import (
    rollout_gate,
    rollout_manifests,
    rollout_plan,
    rollout_rehearse,
    rollout_report,
    rollout_rollback,
    rollout_watch,
)

# Modules with register(subcommands), in the order `harness rollout --help` shows.
FAMILIES = (
    rollout_plan,
    rollout_gate,
    rollout_rehearse,
    rollout_watch,
    rollout_rollback,
    rollout_manifests,
    rollout_report,
)


def register(commands: Any) -> None:
    """Add the family's parsers."""
    rollout = commands.add_parser("rollout", help="plans as data, gates, attestations, watch, rollback, rehearsal")
    subcommands = rollout.add_subparsers(dest="rollout_command", metavar="COMMAND", required=True)
    for family in FAMILIES:
        family.register(subcommands)
