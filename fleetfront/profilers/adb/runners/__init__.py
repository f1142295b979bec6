"""Runners time model files on a device over ADB, each through a program that runs there."""
