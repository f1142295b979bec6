"""``fleetfront store``, and ``fleetfront export store``."""
