"""Few-shot models predict a new device from a few measurements and from known devices."""
