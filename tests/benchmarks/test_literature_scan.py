"""The seconds of a scan by each method of a run."""

import runpy

import pytest

from benchmarks import literature_scan, process
from ichjax.data import ct_ich_nifti, scan_cache
from ichjax.errors import InputError
from ichjax.methods import registry


def test_a_row_for_each_method_that_has_finished(tiny_root, tmp_path):
    config = runpy.run_path(str(process.ROOT / "configs" / "literature" / "all.py"))["get_config"]()
    scans, _ = scan_cache.open_scans(ct_ich_nifti.read_dataset(tiny_root).subjects[:3])
    name = config.compare_with[0]
    method = registry.make(name, config)
    method.fit(scans, scans, workdir=tmp_path / "others" / name / "fold_0", fold=0)
    (row,) = literature_scan.measure(tmp_path, scans[0].volume, rounds=2)
    assert row["method"] == method.title
    assert 0 < row["least"] <= row["seconds a scan"] <= row["most"] < literature_scan.GOAL_S
    assert row["within the goal"] == "yes"


def test_a_folder_without_a_finished_fold_is_refused(tmp_path):
    with pytest.raises(InputError, match="no method has finished fold 0; expected a run of `make literature`"):
        literature_scan.measure(tmp_path, None, rounds=1)
