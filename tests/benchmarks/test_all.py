"""The page of all tables, made from the JSON files that the benchmarks wrote."""

import json

import pytest

from benchmarks import all as all_benchmarks
from benchmarks import record


def test_the_page_has_every_table_with_its_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    rows = [
        {"who": "ichjax", "patches a second": 12.3456, "says": {"loss": 1}},
        {"who": "other", "patches a second": 2},
    ]
    path = record.write("train_step", rows, description="What was measured.", packages=("numpy",))
    assert json.loads(path.read_text())["rows"] == rows
    page = all_benchmarks.write_page(tmp_path, record.device_name()).read_text()
    assert "## Training step\n\nWhat was measured.\n\n| who | patches a second |\n|---|---|\n| ichjax | 12.35 |" in page
    assert "numpy" in page
    assert "says" not in page
    assert "Forward pass" not in page


def test_an_unknown_benchmark_is_refused(capsys):
    with pytest.raises(SystemExit):
        all_benchmarks.main(["--only=train_stop"])
    assert "'train_stop'; expected some of postprocess" in capsys.readouterr().err
