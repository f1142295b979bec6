"""Gain says what a network is expected to add to the fronts."""
