"""Sections gather what a report says, one file each."""
