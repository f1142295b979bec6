"""Quantisers write files in fewer bits: half precision and static int8."""
