"""Knowledge answers what is known of a device for a space."""
