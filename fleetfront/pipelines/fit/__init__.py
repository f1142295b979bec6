"""Fitting turns the store's measurements into latency models on disk, with a report."""
