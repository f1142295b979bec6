"""The joins between the floors: profile, fit, search, deploy as plain functions (floor 6)."""
