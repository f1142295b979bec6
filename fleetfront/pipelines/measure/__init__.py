"""Measuring joins spaces, writers, agents and campaigns: spaces, networks and files."""
