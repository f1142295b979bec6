"""The once-for-all ResNet50 space chooses expansions, depths, widths and a resolution."""
