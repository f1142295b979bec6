"""Vision transformers of 192 channels choose patches, depth, heads, inner width and tokens."""
