"""Every public output gives the right numbers or the right reason, and no text at all gives a zero."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleetfront.errors import InputError
from fleetfront.profilers.adb.facts.conditions import read_state
from fleetfront.profilers.adb.link.shell import ShellResult
from fleetfront.profilers.adb.runners.benchmark_model import BenchmarkModelRunner, Found
from fleetfront.profilers.adb.runners.benchmark_model_output import parse_report, parse_statistics, strip_prefix
from fleetfront.profilers.adb.runners.native import LiteRtRunner, NativeRunner
from fleetfront.targets import Target

MEASURED = [
    ("own_run_android_armv7_tf2.x_ok.txt", "tflite-cpu", 25506, 1, 6.68043, 12089, 95849),
    ("own_run_android_armv7_opprof_csv.txt", "tflite-cpu", 12279, 2, 16.9875, 16480, 84387),
    ("public_litert2025_logcat_percentiles.txt", "tflite-cpu", 25, 140071, 145528, 195121, 92318),
    ("public_tf1.x_average_line_ysh329.txt", "tflite-cpu", 15, 66699, 66767.6, 66838, 9933),
    ("public_tf2.3_cpu_opprof_issue42507.txt", "tflite-cpu", 50, 32641, 33209.4, 34005, 855),
    ("public_tf2.8_sci_notation_opprof_table_riscv.txt", "tflite-cpu", 50, 2727568, 2.95034e6, 3189954, 17187),
    ("public_tf2.15_nnapi_INFO-prefix_synaptics.txt", "tflite-nnapi", 520, 1171, 1885.74, 9925, 66002),
]

REFUSED = [
    ("own_run_android_armv7_gpu.txt", "tflite-gpu", "does not run the whole model: First 0 operations"),
    ("own_run_android_armv7_gpu.txt", "tflite-cpu", "another delegate than the CPU's"),
    ("own_run_android_armv7_missing_file.txt", "tflite-cpu", "Could not open '/data/local/tmp/missing.tflite'"),
    ("own_run_android_armv7_tf2.x_ok.txt", "tflite-gpu", "nothing in the log says that the GPU delegate was applied"),
    ("own_run_android_armv7_tf2.x_ok.txt", "tflite-nnapi", "the NNAPI delegate was applied, so the CPU may have run"),
    ("public_tf2.9_nnapi_partial_logcat_issue56301.txt", "tflite-nnapi", "partially executed by the delegate w/ 44"),
    ("public_tf2.15_nnapi_INFO-prefix_synaptics.txt", "tflite-cpu", "another delegate than the CPU's"),
    ("thermalservice_real_excerpts.txt", "tflite-cpu", "no timings"),
    ("adb_server_states_own.txt", "tflite-cpu", "no timings"),
]

#: Of ``logs``, with what a command that measured so would have been told.
LOGS = [
    ("benchmark_model_litert2.x_summary.txt", "tflite-cpu", ""),
    ("benchmark_model_litert2.x_summary.txt", "tflite-gpu", "nothing in the log says that the GPU delegate"),
    ("benchmark_model_not_executable_hwbkk_issue42956.txt", "tflite-cpu", "not executable: 64-bit ELF file"),
    ("benchmark_model_tf2.2_huawei_p20lite_cpu_linker_warning_issue41769.txt", "tflite-cpu", "ends before the summary"),
    ("benchmark_model_tf2.4_mi11_nnapi_qti-default_op_failed_lp6m.txt", "tflite-nnapi", "ANEURALNETWORKS_OP_FAILED"),
    ("benchmark_model_tf2.4_mi11_nnapi_qti-gpu_fp16_lp6m.txt", "tflite-nnapi", "nothing in the log says"),
    ("benchmark_model_tf2.4_mi11_nnapi_qti-gpu_fp16_lp6m.txt", "tflite-cpu", ""),
    ("benchmark_model_tf2.9_logcat_nnapi_fell_back_issue56301.txt", "tflite-nnapi", "will not be executed"),
]

GOOD = "\n".join(
    [
        "INFO: Initialized session in 1.5ms.",
        "count=3 first=120 curr=100 min=100 max=120 avg=107 std=9",
        "",
        "count=6 first=101 curr=103 min=99 max=110 avg=102.5 std=3",
        "Inference timings in us: Init: 1500, First inference: 120, Warmup (avg): 107, Inference (avg): 102.5",
    ]
)

LITERT_2 = "\n".join(
    [
        "INFO: count=3 first=120 curr=100 min=100 max=120 avg=107 std=9",
        "INFO: count=6 first=101 curr=103 min=99 max=110 avg=102.5 std=3",
        "========== BENCHMARK RESULTS ==========",
        "INFO: [./a.h:88] Inference (avg):      0.10 ms (6 runs)",
        "INFO: [./a.h:114] Init footprint:       8.94 MB",
    ]
)


@pytest.mark.parametrize(("name", "runtime", "count", "least", "mean", "most", "init_us"), MEASURED)
def test_measured_runs_of_every_version(
    shared_data: Path, name: str, runtime: str, count: int, least: float, mean: float, most: float, init_us: float
) -> None:
    report = parse_report((shared_data / "benchmark_model" / name).read_text(), 0, runtime)
    assert report.error is None
    assert report.measured is not None
    found = report.measured
    assert (found.count, found.min_us, found.avg_us, found.max_us) == (count, least, mean, most)
    assert report.init_us == pytest.approx(init_us)
    assert report.warm_up is not None


@pytest.mark.parametrize(("name", "runtime", "reason"), REFUSED)
def test_what_cannot_be_believed_is_an_error(shared_data: Path, name: str, runtime: str, reason: str) -> None:
    report = parse_report((shared_data / "benchmark_model" / name).read_text(), None, runtime)
    assert report.measured is None
    assert report.error is not None
    assert reason in report.error


@pytest.mark.parametrize(("name", "runtime", "reason"), LOGS)
def test_logs_of_strangers(shared_data: Path, name: str, runtime: str, reason: str) -> None:
    report = parse_report((shared_data / "logs" / name).read_text(), None, runtime)
    assert (report.measured is None) == bool(reason)
    assert reason in (report.error or "")


def test_litert_2_is_read_from_its_exact_lines(shared_data: Path) -> None:
    text = (shared_data / "logs" / "benchmark_model_litert2.x_summary.txt").read_text()
    report = parse_report(text, 0)
    assert report.measured is not None
    assert report.warm_up is not None
    assert (report.measured.count, report.measured.min_us, report.measured.avg_us) == (2112, 442, 464.545)
    assert (report.warm_up.count, report.init_us, report.memory_mb) == (1055, 4478, {"Init": 8.94})
    for old, new, reason in (
        ("Inference (avg):      0.46", "Inference (avg):      0.49", "the summary says 490 us"),
        ("(2112 runs)", "(2111 runs)", "in 2111 runs"),
        ("Inference (avg):      0.46 ms (2112 runs)", "nothing", "names no"),
        ("========== BENCHMARK RESULTS ==========", "", "ends before the summary"),
        ("INFO: Num threads", "WARNING: Unconsumed cmdline flags: --gpu_x=1\nINFO: Num threads", "--gpu_x=1"),
    ):
        assert old in text
        assert reason in str(parse_report(text.replace(old, new), 0).error)


def test_memory_is_read_after_the_summary(shared_data: Path) -> None:
    folder = shared_data / "benchmark_model"
    litert = parse_report((folder / "public_litert2025_logcat_percentiles.txt").read_text(), 0)
    assert litert.memory_mb == {"init": 54.2852, "overall": 73.4102}
    own = parse_report((folder / "own_run_android_armv7_tf2.x_ok.txt").read_text(), 0)
    assert own.memory_mb == {"init": 1.03906, "overall": 1.03906}


NO_HALF = "--allow_fp16=false"
HELP_1 = "--graph --allow_fp16 --gpu_precision_loss_allowed"
HELP_2 = "Flags:\n\t--graph=\tstring\n\t--use_cpu=true\n\t--allow_fp16=true\n"


class Installed:
    """A connection to a device on which the program prints its help."""

    serial = "x"

    def __init__(self, text: str) -> None:
        self.text = text

    def push(self, *_: object, **__: object) -> None: ...

    def shell(self, command: str, timeout_s: float = 30.0) -> ShellResult:
        return ShellResult(1, self.text, "")


@pytest.mark.parametrize(
    ("text", "runtime", "precision", "flags"),
    [
        (HELP_2, "tflite-gpu", "fp32", "--use_cpu=false --use_gpu=true --require_full_delegation=true " + NO_HALF),
        (HELP_2, "tflite-gpu", "fp16", "--require_full_delegation=true --allow_fp16=true"),
        (HELP_1, "tflite-gpu", "fp16", "--gpu_precision_loss_allowed=true"),
        ("--graph", "tflite-nnapi", "fp32", "--disable_nnapi_cpu=true --nnapi_allow_fp16=false"),
    ],
)
def test_flags_are_those_of_the_version(text: str, runtime: str, precision: str, flags: str) -> None:
    runner = BenchmarkModelRunner(Found(None, "/data/benchmark_model", "0"))
    runner.install(Installed(text), "/data")  # type: ignore[arg-type]
    command = runner.command(Target("adb:x", runtime, precision), 0)
    assert command.endswith(flags)
    assert ("gpu_precision_loss_allowed" in command) == ("gpu_precision_loss_allowed" in flags)


def test_litert_2_has_no_nnapi() -> None:
    runner = BenchmarkModelRunner(Found(None, "/data/benchmark_model", "0"))
    runner.install(Installed(HELP_2), "/data")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="deprecated since Android 15"):
        runner.command(Target("adb:x", "tflite-nnapi"), 0)


def test_every_public_text_is_in_one_of_the_lists(shared_data: Path) -> None:
    known = {name for name, *_ in MEASURED} | {name for name, *_ in REFUSED}
    assert {path.name for path in (shared_data / "benchmark_model").iterdir()} == known
    assert {path.name for path in (shared_data / "logs").glob("benchmark_model*")} == {name for name, *_ in LOGS}


def test_percentiles_are_kept_as_printed(shared_data: Path) -> None:
    text = (shared_data / "benchmark_model" / "public_litert2025_logcat_percentiles.txt").read_text()
    report = parse_report(text, 0)
    assert report.measured is not None
    assert report.measured.printed["median"] == "141253"
    assert report.measured.printed["p95"] == "187533"
    assert parse_report(GOOD.replace("102.5", "1.025e+02"), 0).measured.printed["avg"] == "1.025e+02"  # type: ignore[union-attr]


def test_warm_up_of_a_single_run_is_read_in_its_short_form(shared_data: Path) -> None:
    text = (shared_data / "benchmark_model" / "public_tf2.8_sci_notation_opprof_table_riscv.txt").read_text()
    warm_up = parse_report(text, 0).warm_up
    assert warm_up is not None
    assert (warm_up.count, warm_up.min_us) == (1, 3512391)


@pytest.mark.parametrize(
    ("text", "exit_code", "reason"),
    [
        ("", 0, "printed nothing"),
        (GOOD, 139, "exit code 139"),
        (GOOD.rsplit("\n", 1)[0], None, "ends before the summary"),
        (GOOD.replace("(avg): 102.5", "(avg): 50.1"), 0, "summary says 50.1 us"),
        (GOOD.replace("min=99", "min=ninety"), 0, "not understood"),
        (GOOD.replace("min=99", "min=-99"), 0, "not understood"),
        (GOOD.replace("avg=102.5", "avg=102.5 avg=102.5"), 0, "not understood"),
        (GOOD.replace("min=99", "min=0"), 0, "too short"),
        (GOOD.replace("max=110", "max=1e999"), 0, "not understood"),
        (GOOD.replace("count=6", "count=0"), 0, "not understood"),
        (re.sub(r" std=.*", "", GOOD), 0, "not understood"),
        (GOOD.replace("Inference (avg): 102.5", "Elapsed: 102.5"), 0, "names no inference time"),
        ("Failed to apply the default TensorFlow Lite delegate.\n" + GOOD, 1, "Failed to apply"),
    ],
)
def test_damaged_output_is_an_error(text: str, exit_code: int | None, reason: str) -> None:
    report = parse_report(text, exit_code)
    assert report.measured is None
    assert reason in str(report.error)


@pytest.mark.parametrize(
    ("log", "runtime", "whole"),
    [
        (
            "Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.",
            "gpu",
            True,
        ),
        ("Applied GPU delegate, and the model graph will be partially executed w/ the delegate.", "gpu", False),
        ("First 7 operations will run on the GPU, and the remaining 0 on the CPU.", "gpu", False),
        (
            "Replacing 31 out of 31 node(s) with delegate (TfLiteNnapiDelegate) node, yielding 1 partitions.",
            "nnapi",
            True,
        ),
        (
            "Replacing 31 out of 32 node(s) with delegate (TfLiteNnapiDelegate) node, yielding 2 partitions.",
            "nnapi",
            False,
        ),
        (
            "NNAPI accelerator name: [nnapi-reference]\n"
            "Explicitly applied NNAPI delegate, and the model graph will be completely executed by the delegate.",
            "nnapi",
            False,
        ),
        ("Created TensorFlow Lite delegate for GPU.", "gpu", False),
        ("Replacing 0 out of 0 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 0 partitions.", "gpu", False),
        (
            "Replacing 3 out of 4 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 2 partitions.",
            "cpu",
            True,
        ),
    ],
)
def test_only_proven_full_delegation_is_believed(log: str, runtime: str, whole: bool) -> None:
    assert (parse_report(f"{log}\n{GOOD}", 0, f"tflite-{runtime}").error is None) is whole


def test_prefixes_of_logcat_and_logger_are_stripped() -> None:
    for prefix in ("07-14 13:14:52.097 22838 22838 I tflite  : ", "I/tflite  (30011): ", "I tflite  : ", "INFO: ", ""):
        assert strip_prefix(prefix + "count=1 curr=5") == "count=1 curr=5"
        assert parse_report("\n".join(prefix + line for line in GOOD.splitlines()), 0).error is None


@settings(max_examples=150)
@example("count=5 first=0 curr=0 min=0 max=0 avg=0 std=0\nInference timings in us: Inference (avg): 0")
@given(st.one_of(st.text(), st.lists(st.sampled_from([*GOOD.splitlines(), "", "count=", "noise"])).map("\n".join)))
def test_no_text_gives_a_zero_or_a_crash(text: str) -> None:
    report = parse_report(text, 0)
    assert (report.measured is None) is (report.error is not None)
    if report.measured is not None:
        assert 0 < report.measured.min_us <= report.measured.max_us < math.inf


@settings(max_examples=100)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, len(GOOD) - 1), st.text(max_size=3))
def test_a_damaged_report_never_gives_other_numbers(begin: int, end: int, inserted: str) -> None:
    damaged = GOOD[:begin] + inserted + GOOD[end:]
    measured = parse_report(damaged, 0).measured
    if measured is not None:
        # The summary repeats the average, so damage can hide in the other statistics only.
        assert measured.avg_us == pytest.approx(102.5, rel=1e-3) or measured.avg_us == pytest.approx(107, rel=1e-3)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=20))
def test_statistics_of_real_samples_are_read_back(samples: list[int]) -> None:
    line = (
        f"count={len(samples)} first={samples[0]} curr={samples[-1]} min={min(samples)} max={max(samples)} "
        f"avg={sum(samples) / len(samples):g} std=1"
    )
    found = parse_statistics(line)
    assert found is not None
    assert (found.count, found.min_us, found.max_us) == (len(samples), min(samples), max(samples))


BAD_NUMBERS = ["9" * 5000, "-1", "0", "inf", "nan", "1e400", "-inf", "", "1e-400", "\x1b[31m", "\u0663"]
OWN = "fleetfront-runner/1 open_ns=12 first_ns=20 mask=3 peak_kb=96 wall_ns=40,33 cpu_ns=40,30\n"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_numbers_that_cannot_be_never_end_a_campaign(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([GOOD, LITERT_2, OWN, "Thermal Status: 0\n  level: 3\n  temperature: 3\n 0:1:2"]))
    for _ in range(data.draw(st.integers(1, 3))):
        spans = [match.span() for match in re.finditer(r"\d+(\.\d+)?", text)]
        if spans:
            begin, end = data.draw(st.sampled_from(spans))
            text = text[:begin] + data.draw(st.sampled_from(BAD_NUMBERS)) + text[end:]
    google = BenchmarkModelRunner(Found(None, "/x", "0"))
    own = LiteRtRunner(NativeRunner(Path("x"), Path("y"), "2", b""))
    for timings in [runner.read(text, 0, Target("adb:x", "tflite-cpu")) for runner in (google, own)]:
        assert bool(timings.samples_ns) != bool(timings.error)
        assert all(0 < sample < 10**19 for samples in timings.samples_ns.values() for sample in samples)
        assert 0 <= timings.peak_bytes < 2**61
    read_state(text, text).facts()
