"""The command line: thin commands over ``pipelines`` (floor 6)."""
