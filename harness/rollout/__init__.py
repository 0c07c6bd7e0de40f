"""The rollout: plans as data, gates that decide from evidence, and a rehearsal of the whole of it."""
