"""Importing brings measurements made by others into the store."""
