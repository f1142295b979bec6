"""Graphs describe networks: operators with shapes, rewritten, folded, pruned, and run in torch."""
