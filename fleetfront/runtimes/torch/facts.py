"""The record of torch, which runs a Graph as it is: the reference of every proof, and a target of its own."""

from __future__ import annotations

from fleetfront.quantities import Clock
from fleetfront.runtimes.facts import Half, OnDevice, Package, RuntimeFacts

FACTS = RuntimeFacts(
    name="torch",
    title="torch",
    code="fleetfront.runtimes.torch.runtime:TorchRuntime",
    formats=("graph",),
    layout="NCHW",
    packages=(
        Package("torch", "torch", "supernets, training, and the reference that files are proven against"),
        Package("safetensors", "torch", "saving weights"),
    ),
    on={
        "cuda": (
            OnDevice(
                "torch",
                "graph",
                precisions=("fp32", "tf32", "fp16"),
                clocks=(Clock.DEVICE, Clock.WALL),
                half=Half.RUNTIME,
                program="fleetfront.profilers.gpu.programs.torch:open_torch",
            ),
        ),
        "cpu": (OnDevice("torch", "graph"),),
    },
)
