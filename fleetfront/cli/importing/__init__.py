"""``fleetfront import``."""
