"""Readers make graphs of model files and torch modules: shapes, types and operators, never the weights themselves."""
