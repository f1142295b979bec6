"""From a target to an agent: the device, its runtime and NVML, or why one of them cannot be had."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from fleetfront.errors import FleetfrontError, InputError, unknown
from fleetfront.profilers.cpu.conditions import describe_machine
from fleetfront.profilers.gpu.agent import GpuAgent, GpuOptions
from fleetfront.profilers.gpu.nvml import Nvml
from fleetfront.profilers.gpu.programs.base import Opener
from fleetfront.profilers.gpu.programs.onnxruntime import TENSORRT_DELEGATE
from fleetfront.profilers.gpu.programs.torch import TorchOpener
from fleetfront.profilers.gpu.stopwatch import CudaStopwatch, HostStopwatch
from fleetfront.profilers.gpu.visit_timing import SteadyRule
from fleetfront.progress import SILENT, Progress
from fleetfront.runtimes.catalogue import places
from fleetfront.runtimes.cuda_device import CudaDevice, cuda_index, has_context, open_cuda_device
from fleetfront.targets import Target

_OVERRIDE = "NVIDIA_TF32_OVERRIDE"

#: A rehearsal proves that everything runs; its numbers mean nothing, so it does not wait for a steady machine.
_NO_WARM_UP = SteadyRule(window=1, tolerance=1.0, most_s=0.0)


def gpu_target(device: str, runtime: str | None, precision: str, batch: int, threads: int = 1) -> Target:
    """The target of a GPU of this machine, in torch unless the user says otherwise.

    Raises InputError for a runtime or precision that GPUs are not profiled in, or for more than one thread.
    """
    known = places("cuda")
    delegated = {typed: (one.name, delegate) for one in known.values() for typed, delegate in one.delegates.items()}
    runtime = runtime or next(iter(known))
    name, delegate = delegated.get(runtime, (runtime, ""))
    if name not in known:
        raise unknown("runtime of a GPU", name, (*known, *delegated))
    precisions = known[name].precisions
    if precision not in precisions:
        raise InputError(f"GPUs are not profiled in {precision} so far.", f"Use {', '.join(precisions)}.")
    if threads != 1:
        raise InputError(f"--threads {threads} means nothing on a GPU.", "Leave it out; --batch says how much is done.")
    return Target(f"cuda:{cuda_index(device)}", name, precision, 1, batch, delegate)


def open_gpu_agent(
    target: Target, cache: Path, *, options: GpuOptions | None = None, progress: Progress = SILENT
) -> GpuAgent:
    """The agent of ``target`` on this machine; engines and kernel timings are kept in ``cache``.

    Raises:
        InputError: a runtime that GPUs have not; see also ``check_tf32``.
        MissingDependency: torch with CUDA, the runtime or its provider is not installed.
        DeviceError: there is no such GPU.
    """
    device = open_cuda_device(target.device)
    nvml = _nvml(device, progress)
    if nvml is not None and nvml.read().get("computing_processes", 0) > has_context(device.index):
        progress.note(f"Other processes compute on {target.device} ({device.name}): its numbers are shared with them.")
    check_tf32(target, os.environ.get(_OVERRIDE, ""))
    stopwatch = CudaStopwatch(device.index)
    opener = _opener(target, device, cache, stopwatch.stream)
    facts = {**device.to_json(), "host_cpu": describe_machine()["cpu"], "nvml": nvml is not None}
    return GpuAgent(target, opener, stopwatch, facts, nvml=nvml, options=options)


def check_tf32(target: Target, override: str) -> None:
    """Raise InputError where float32 would not be computed as ``target`` says.

    NVIDIA's libraries obey ``NVIDIA_TF32_OVERRIDE`` (here ``override``, empty if it is not set) before any setting.
    ONNX Runtime's TensorRT provider has no setting of its own, and TensorRT computes in TensorFloat-32 by default.
    """
    if target.precision == "tf32" and override == "0":
        raise InputError(f"{_OVERRIDE}=0 forbids TensorFloat-32.", f"Unset it, or use --precision fp32 for {target}.")
    if target.precision != "fp32":
        return
    if override not in ("", "0"):
        raise InputError(f"{_OVERRIDE}={override} makes fp32 TensorFloat-32.", "Unset it, or use --precision tf32.")
    if target.delegate == TENSORRT_DELEGATE and override != "0":
        raise InputError(
            "ONNX Runtime's TensorRT provider computes float32 in TensorFloat-32.",
            f"Set {_OVERRIDE}=0 in the environment, or use --precision tf32 or --runtime tensorrt.",
        )


def rehearsal_agent(target: Target, options: GpuOptions | None = None) -> GpuAgent:
    """All of it in torch on the CPU, under the host's clock: a rehearsal of the program, not a measurement."""
    facts = {"name": "none: rehearsed on the CPU", "host_cpu": describe_machine()["cpu"]}
    hurried = options or GpuOptions()
    hurried = replace(hurried, timing=replace(hurried.timing, steady=_NO_WARM_UP, most_copies=hurried.timing.buffers))
    opener = TorchOpener("cpu", target.precision)
    return GpuAgent(target, opener, HostStopwatch(), facts, options=hurried, first_warm_up=_NO_WARM_UP)


def _opener(target: Target, device: CudaDevice, cache: Path, stream: Any) -> Opener:
    place = places("cuda").get(target.runtime)
    if place is None:
        raise unknown("runtime of a GPU", target.runtime, places("cuda"))
    module, function = place.program.split(":")
    opener: Opener = getattr(import_module(module), function)(target, device, cache / target.runtime, stream)
    return opener


def _nvml(device: CudaDevice, progress: Progress) -> Nvml | None:
    try:
        return Nvml(device.uuid, device.index)
    except FleetfrontError as error:
        progress.note(f"Clocks, power, temperature and energy are not recorded: {error}")
        return None
