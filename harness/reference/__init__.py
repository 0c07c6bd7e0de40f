"""The reference Engram: a small, honest service to practise drills on.

A program of its own (``python -m harness.reference``), started as a subprocess and never imported by the harness; it
imports nothing of the harness either, so that a mistake here cannot hide behind the same mistake there.
"""
