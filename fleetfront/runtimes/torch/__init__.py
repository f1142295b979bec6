"""torch runs Graphs on this machine: the reference, and a target of its own."""
