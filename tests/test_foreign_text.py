"""Logs of other measuring programs are recognised, wherever they are given in place of a file of ours."""

from pathlib import Path

import pytest

from fleetfront.cli.main import main
from fleetfront.foreign_text import recognise

PRINTED = {
    "logs/mlperf_mobile_v5_sd7sg3_summary.txt": "the summary of an MLPerf run",
    "logs/ncnn_benchncnn_dimensity9300.txt": "what ncnn's benchncnn prints",
    "logs/trtexec_orin_nx_trt103_header_foundationstereo90.txt": "what trtexec prints",
    "logs/trtexec_retyped_missing_equals_beyondli4.txt": "what trtexec prints",
    "logs/trtexec_trt82_endtoend_line_yolort272.txt": "what trtexec prints",
    "logs/trtexec_zero_transfers_yolov7_329.txt": "what trtexec prints",
    "logs/benchmark_model_litert2.x_summary.txt": "what benchmark_model",
    "logs/benchmark_model_tf2.9_logcat_nnapi_fell_back_issue56301.txt": "what benchmark_model",
    "benchmark_model/public_tf1.x_average_line_ysh329.txt": "what benchmark_model",
    "benchmark_model/public_litert2025_logcat_percentiles.txt": "what benchmark_model",
}


@pytest.mark.parametrize(("name", "what"), PRINTED.items())
def test_logs_of_other_programs_are_refused_by_name(
    shared_data: Path, name: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = str(shared_data / name)
    assert main(["import", "table", log, "--space", "nasbench201"]) == 2
    printed = capsys.readouterr().err
    assert what in printed
    assert "no table of networks" in printed
    assert main(["import", "trtexec", log, "--device", "cuda:0"]) == 2
    printed = capsys.readouterr().err
    assert what in printed
    assert "Write it with: trtexec --exportTimes=FILE" in printed
    assert main(["compare", log, log]) == 2
    assert what in capsys.readouterr().err


def test_texts_and_files_of_no_such_program_are_nobodys(shared_data: Path, tmp_path: Path) -> None:
    assert recognise(shared_data / "nb201" / "pi5_torchmobile.csv") == ""
    assert recognise(shared_data / "logs" / "dumpsys_battery_pixelc_syzkaller79.txt") == ""
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)) * 400)
    assert recognise(binary) == ""
    assert recognise(tmp_path) == ""
