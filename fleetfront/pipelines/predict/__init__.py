"""Predicting answers what architectures, model files and torch modules take on devices."""
