"""Where Engram runs: embedded (started here) or attached (somebody else's)."""
