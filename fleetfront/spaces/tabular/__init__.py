"""Families that are known by other people's tables alone: no blocks, no graphs."""
