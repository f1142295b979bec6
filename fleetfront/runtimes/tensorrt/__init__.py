"""TensorRT builds, opens and runs engines on an NVIDIA GPU of this machine."""
