"""Small language models choose width, layers, heads, inner width and context."""
