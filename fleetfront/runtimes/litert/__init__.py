"""LiteRT opens and runs TFLite files on this machine."""
