"""Time converters to TFLite on twenty blocks of transformers, and judge what they write against torch on LiteRT.

Converters have environments of their own, so each runs with the interpreter of its environment and this checkout on
``PYTHONPATH``:

    python benchmarks/converters.py --work DIR                                    # blocks as ONNX and what torch gives
    OTHER/bin/python benchmarks/converters.py --work DIR --convert litert-torch   # or onnx2tf
    python benchmarks/converters.py --work DIR --convert own
    python benchmarks/converters.py --work DIR --judge
"""

import argparse
import contextlib
import importlib.metadata
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

CONVERTERS = ("litert-torch", "onnx2tf", "own")
LIMIT, RUNS = 1e-5, 60


def blocks() -> Iterator[tuple[str, Any, Any]]:
    """Name, module with fixed random weights, and input of twenty blocks."""
    import torch
    from torch import nn

    from fleetfront.spaces.gpt_mini import family as gpt
    from fleetfront.spaces.vit_tiny import family as vit

    def tokens(count: int, width: int = vit.WIDTH) -> torch.Tensor:
        return torch.randn(1, count, width)

    torch.manual_seed(0)
    made = [(f"vit attend {heads} heads {n}", vit.Attend(heads), tokens(n)) for heads in (2, 3, 4) for n in (50, 197)]
    made += [(f"vit think {ratio}", vit.Think(ratio), tokens(197)) for ratio in (2, 4)]
    made += [
        (f"vit patches {patch} {side}", vit.Patches(patch, side), torch.randn(1, 3, side, side))
        for patch, side in ((16, 224), (32, 192))
    ]
    made.append(("vit answer", vit.Answer(), tokens(197)))
    for width, heads, count in ((128, 2, 64), (192, 4, 64), (256, 4, 128)):
        made.append((f"gpt attend {width}", gpt.Attend(width, heads, count), tokens(count, width)))
    for width, count in ((128, 64), (256, 128)):
        ids = torch.randint(0, gpt.WORDS, (1, count))
        made.append((f"gpt embed {width}", gpt.Embed(width, count), ids))
        made.append((f"gpt think {width}", gpt.Think(width, 4), tokens(count, width)))
    made.append(("gpt answer", gpt.Answer(256), tokens(128, 256)))
    layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, batch_first=True)
    made.append(("torch encoder layer", layer, tokens(16, 64)))
    for name, module, fed in made:
        yield name.replace(" ", "-"), module.eval(), fed


def write_blocks(work: Path) -> None:
    """Each block as an ONNX file, and what torch gives for its input."""
    import torch

    from fleetfront.spaces.from_torch.exporting import export_onnx, plain_paths

    for name, module, fed in blocks():
        (work / f"{name}.onnx").write_bytes(export_onnx(module, (fed,)))
        with torch.no_grad(), plain_paths():
            np.savez(work / f"{name}.npz", fed=fed.numpy(), wanted=module(fed).numpy())


def convert(converter: str, work: Path) -> None:
    """Convert every block, and keep how long each took or why there is no file."""
    began = time.perf_counter()
    write = {"litert-torch": _litert_torch, "onnx2tf": _onnx2tf, "own": _own}[converter]()
    facts: dict[str, Any] = {"load_s": round(time.perf_counter() - began, 2), "blocks": {}}
    package = "fleetfront" if converter == "own" else converter
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        facts["version"] = importlib.metadata.version(package)
    folder = work / converter
    folder.mkdir(exist_ok=True)
    for name, module, fed in blocks() if converter == "litert-torch" else _files(work):
        began = time.perf_counter()
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                write(module, fed, folder / f"{name}.tflite")
            facts["blocks"][name] = {"seconds": round(time.perf_counter() - began, 3)}
        except Exception as error:
            facts["blocks"][name] = {"error": _reason(error, work)}
        print(name, facts["blocks"][name], file=sys.stderr)
    (work / f"{converter}.json").write_text(json.dumps(facts, indent=1))


def _reason(error: Exception, work: Path) -> str:
    """The words of an error, without this machine's folders."""
    words = str(error).replace(sys.prefix, "").replace(str(work), "")[:300]
    return f"{type(error).__name__}: {words}"


def _files(work: Path) -> Iterator[tuple[str, Path, None]]:
    for path in sorted(work.glob("*.onnx")):
        yield path.stem, path, None


def _litert_torch() -> Callable[[Any, Any, Path], None]:
    import litert_torch
    import torch

    torch.backends.mha.set_fastpath_enabled(False)
    return lambda module, fed, path: litert_torch.convert(module, (fed,)).export(str(path))


def _onnx2tf() -> Callable[[Any, Any, Path], None]:
    """Its command, in a process of its own: it keeps settings between calls."""

    def run(onnx: Path, _: Any, path: Path) -> None:
        out = path.with_suffix("")
        keep = ("-kat", "tokens") if "think" in onnx.stem or "attend" in onnx.stem or "answer" in onnx.stem else ()
        command = (sys.executable, "-m", "onnx2tf", "-i", str(onnx), "-o", str(out), "-n", "-v", "error", *keep)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        files = list(out.glob("*_float32.tflite"))
        if not files:
            raise RuntimeError(done.stderr.strip()[-300:] or done.stdout.strip()[-300:])
        files[0].rename(path)

    return run


def _own() -> Callable[[Any, Any, Path], None]:
    from fleetfront.deploy.writers.tflite.writer import write_tflite
    from fleetfront.graphs.readers.onnx import read_onnx

    return lambda onnx, _, path: path.write_bytes(write_tflite(read_onnx(onnx, {}))) and None


def judge(work: Path) -> dict[str, Any]:
    """Distance from torch and time of each file on LiteRT, beside the ONNX file on ONNX Runtime."""
    found: dict[str, Any] = {}
    onnx = {path.stem: _judged(path, "onnxruntime", np.load(work / f"{path.stem}.npz")) for path in work.glob("*.onnx")}
    for converter in CONVERTERS:
        if not (work / f"{converter}.json").is_file():
            continue
        facts = json.loads((work / f"{converter}.json").read_text())
        for name, block in facts["blocks"].items():
            path = work / converter / f"{name}.tflite"
            if path.is_file() and "error" not in block:
                try:
                    block |= _judged(path, "litert", np.load(work / f"{name}.npz"))
                except Exception as error:
                    block["error"] = _reason(error, work)
        right = [one for one in facts["blocks"].values() if one.get("relative_to_range", 1.0) <= LIMIT]
        facts["right"] = len(right)
        facts["seconds_a_block"] = float(np.median([one["seconds"] for one in right])) if right else None
        found[converter] = facts
    return {"limit": LIMIT, "onnxruntime": onnx, "converters": found}


def _judged(path: Path, runtime: str, known: Any) -> dict[str, float]:
    from fleetfront.runtimes.catalogue import load_runtime

    session = load_runtime(runtime).open(path)
    fed, wanted = known["fed"], known["wanted"]
    (port,) = session.inputs
    fed = fed.astype(port.dtype)
    if tuple(port.shape) != fed.shape:
        order = (0, 2, 3, 1) if fed.ndim == 4 else (0, 2, 1)
        fed = np.ascontiguousarray(fed.transpose(order))
    (got,) = session.run({port.name: fed}).values()
    took = []
    for _ in range(RUNS):
        began = time.perf_counter()
        session.run({port.name: fed})
        took.append(time.perf_counter() - began)
    session.close()
    error = float(np.abs(got.reshape(wanted.shape) - wanted).max() / np.ptp(wanted))
    return {
        "relative_to_range": error,
        "ms": round(1e3 * float(np.quantile(took, 0.25)), 4),
        "bytes": path.stat().st_size,
    }


def main() -> None:
    """Write blocks, convert them, or judge what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--convert", choices=CONVERTERS)
    parser.add_argument("--judge", action="store_true")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.judge:
        from machine import write

        print(write("converters", judge(given.work)))
    elif given.convert:
        convert(given.convert, given.work)
    else:
        write_blocks(given.work)


if __name__ == "__main__":
    main()
