"""Latency tables add up measured blocks, calibrated on whole networks."""
