"""Probes observe and record; they never act."""
