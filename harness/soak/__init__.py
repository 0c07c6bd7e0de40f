"""The soak: hours of one load on one target, recorded at constant cost, resumable, judged as it goes."""
