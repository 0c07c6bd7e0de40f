"""The commands of ``harness``, one module a family; each has ``register(commands)``, which adds its parsers."""
