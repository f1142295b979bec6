"""The once-for-all MobileNetV3 spaces choose kernels, expansions, depths and a resolution."""
