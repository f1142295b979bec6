"""A strategy, kinds of devices, a runtime and a search space that fleetfront finds through entry points."""
