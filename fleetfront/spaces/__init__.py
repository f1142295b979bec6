"""Search spaces, blocks, graphs and supernets (floor 1)."""
