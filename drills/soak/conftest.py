"""The soak is opt-in: its options and its fixture exist only where this directory is named."""

pytest_plugins = ("harness.soak_plugin",)
