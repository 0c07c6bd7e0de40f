"""The run directory: an append-only writer, and a reader that survives torn ends."""
