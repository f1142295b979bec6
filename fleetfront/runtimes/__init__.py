"""Open a model file here, feed it, run it: used both to prove and to time (floor 1)."""
