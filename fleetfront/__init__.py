"""fleetfront: measure, model, search and deploy neural networks for a fleet of devices."""

__version__ = "0.1.0"
