"""Conformance checks for other people's parts, parts with a fault in them, and a simulated device. Needs no pytest."""
