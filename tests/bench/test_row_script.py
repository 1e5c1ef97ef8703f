import json
import runpy
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidtldr.bench.row import Row, Settings
from vidtldr.bench.row_script import run_script
from vidtldr.measure.processor import processor_name

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def group(settings: Settings) -> Iterator[Row]:
    yield Row("a", "a workload", {"gain": 1.5, "num_rounds": settings.num_rounds})


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_file_is_named_by_the_processor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_script("what", {"one": group, "two": group}, tmp_path, ["--rows", "one", "--rounds", "3"])
    report = json.loads((tmp_path / f"{processor_name()}.json").read_text())
    assert report["environment"]["cpu_capability"]
    assert report["environment"]["tiny"] is False
    assert report["rows"][0]["figures"] == {"gain": 1.5, "num_rounds": 3}
    assert "a workload: gain 1.50, num_rounds 3" in capsys.readouterr().out


def test_a_row_that_is_not_there_is_an_error_of_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_script("what", {"one": group}, tmp_path, ["--rows", "two"])
    assert ended.value.code == 2
    assert "rows must be among one, got 'two'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_told_to_stop_leaves_as_after_ctrl_c(tmp_path: Path) -> None:
    def stopped(_: Settings) -> Iterator[Row]:
        yield Row("a", "a workload", {"gain": 1.5})
        signal.raise_signal(signal.SIGTERM)
        yield Row("b", "another", {"gain": 1.5})

    output = tmp_path / "out.json"
    with pytest.raises(SystemExit) as ended:
        run_script("what", {"one": stopped}, tmp_path, ["--output", str(output)])
    assert ended.value.code == 128 + signal.SIGTERM
    assert [row["name"] for row in json.loads(output.read_text())["rows"]] == ["a"]


def test_ctrl_c_says_where_the_finished_rows_are(tmp_path: Path) -> None:
    def stopped(_: Settings) -> Iterator[Row]:
        yield Row("a", "a workload", {"gain": 1.5})
        raise KeyboardInterrupt

    output = tmp_path / "out.json"
    with pytest.raises(SystemExit, match="stopped: finished rows are in"):
        run_script("what", {"one": stopped}, tmp_path, ["--output", str(output)])
    assert output.exists()


@pytest.mark.parametrize("name", ["never_slower", "busy"])
def test_files_go_where_the_tables_read_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    written = runpy.run_path(str(BENCHMARKS / f"{name}.py"))["RESULTS"]
    tables = runpy.run_path(str(BENCHMARKS / "write_tables.py"))["GENERATED"]
    assert tables[name].args == (written,)
