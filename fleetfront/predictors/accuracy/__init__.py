"""Accuracy models say how accurate architectures are: tables, predictors, supernets."""
