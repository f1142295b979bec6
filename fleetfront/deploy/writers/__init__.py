"""Writers turn a Graph into a model file, one folder a format."""
