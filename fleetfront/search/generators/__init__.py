"""Generators: what trained strategies leave behind. Networks that answer with architectures where others search."""
