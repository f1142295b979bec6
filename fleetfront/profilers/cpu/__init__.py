"""The CPU agent measures on this machine's cores in a process of its own."""
