"""``fleetfront search``."""
