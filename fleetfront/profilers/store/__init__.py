"""The store keeps every raw sample in one append-only SQLite file."""
