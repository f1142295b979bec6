"""Measuring on CUDA GPUs: stopwatch, timing, programs of three runtimes, conditions through NVML, and the agent."""
