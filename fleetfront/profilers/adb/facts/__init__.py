"""Facts say what a device is and what state it is in."""
