"""Families of a user's own: a Python file with choices and a function from genes to a torch module."""
