"""One YAML file a device setting, and its typed loader (floor 1)."""
