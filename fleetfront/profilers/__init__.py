"""Timing discipline, campaigns, the store of raw samples and the agents that measure (floor 3)."""
