"""Kinds of devices: what each can be asked, and which one a device's name means."""
