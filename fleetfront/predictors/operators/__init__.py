"""Operator costs estimate a device from what a network's operators ask of it."""
