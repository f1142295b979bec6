"""The remote room measures on devices of other hosts: an agent there, the user's own ssh between, JSON lines on it."""
