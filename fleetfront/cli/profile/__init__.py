"""``fleetfront profile``, one file a kind of device or question."""
