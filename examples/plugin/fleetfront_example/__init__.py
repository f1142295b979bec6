"""A strategy, a kind of device and a search space that fleetfront finds through entry points."""
