"""The rollout: plans as data, gates that decide from evidence, a rehearsal of it all; the watch and the ways back."""
