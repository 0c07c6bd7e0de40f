"""TOML to typed values: workloads, drill profiles, service-level objectives."""
