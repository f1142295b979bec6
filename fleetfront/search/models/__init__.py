"""Models of accuracy learn from what a search has evaluated."""
