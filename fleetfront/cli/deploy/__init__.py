"""``fleetfront deploy`` and ``fleetfront export``."""
