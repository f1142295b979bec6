"""Figures draw what sections gathered, as Vega-Lite specifications."""
