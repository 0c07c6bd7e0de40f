"""Faults: each with its exact inverse, written down before it is done, and healed even when the harness is killed.

Nothing is imported here: the guardian, a process of its own, must start fast and needs recipes only.
"""
