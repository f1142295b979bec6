"""One YAML a device, and its typed loader (floor 1)."""
