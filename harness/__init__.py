"""Chaos drills, soak and rollout validation for Engram.

Importing this package has no side effects; every command lives in :mod:`harness.cli` and every pytest hook in
:mod:`harness.pytest_plugin`.
"""

__version__ = "0.1.0"
