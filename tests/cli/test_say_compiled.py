"""What is said of a compiled model, of made-up times."""

from typing import Any

import pytest

from vidtldr.cli.terminal import compiled_row, say_compiled
from vidtldr.measure.busyness import IDLE, BusyReport
from vidtldr.measure.timing import Timing
from vidtldr.patch.compiled_twin import CompiledTimes, CompiledTwin


def twin(compiled_ms: float, uncompiled_ms: float, busy: BusyReport = IDLE) -> Any:
    times = CompiledTimes(Timing((compiled_ms,), busy), Timing((uncompiled_ms,), busy))
    made: CompiledTwin[Any] = object.__new__(CompiledTwin)  # without compiling anything
    made.input_shape, made.compile_seconds, made.times = (2, 16, 3, 224, 224), 31.26, times
    return made


def said(capsys: pytest.CaptureFixture[str], compiled: Any) -> str:
    say_compiled(compiled)
    return capsys.readouterr().err


def test_a_gain_is_said_with_both_times_of_a_clip(capsys: pytest.CaptureFixture[str]) -> None:
    line = (
        "compiled for 2 x 16 x 3 x 224 x 224 in 31.3 s; compiled 5.1 ms, uncompiled 9.0 ms a clip"
    )
    assert said(capsys, twin(10.2, 18)) == f"{line}\n"
    assert said(capsys, None) == ""


def test_compiling_that_does_not_pay_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    line = said(capsys, twin(5178, 4724))
    assert line.endswith(
        "; compiled 2589 ms, uncompiled 2362 ms a clip: compiling does not pay here, clips run "
        "uncompiled\n"
    )
    busy = said(capsys, twin(5178, 4724, BusyReport(0.5, True)))
    assert busy.startswith(line.strip() + "; other programs used 50 % of the processor")


def test_json_has_the_decision_where_compiling_was_asked_for() -> None:
    assert compiled_row(None) == {}
    assert compiled_row(twin(3.0, 2.0)) == {
        "compile": {
            "is_used": False,
            "compiled_ms": 3.0,
            "uncompiled_ms": 2.0,
            "machine_was_busy": False,
            "other_share": 0.0,
        }
    }
