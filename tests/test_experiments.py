"""The paper's three experiments on phantoms in each layout of a data set, one command each, with every table and figure
that docs/evaluation.md lists. Minutes: `make experiments`.

Networks are narrow and take one training step, so scores are not tested. All other settings are the experiment's: the
640 x 640 grid, 49 patches per slice, batch sizes, windows, kernels.
"""

import base64
import csv
import dataclasses
import functools
import io
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import types

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ichjax import config
from ichjax.cli import config_flags
from ichjax.data.label_tables import SUBTYPES
from ichjax.data.splits import PARTS
from ichjax.ops.patches import grid_shape
from ichjax.phantom import dataset as phantoms

pytestmark = pytest.mark.experiments
ROOT = pathlib.Path(__file__).parents[1]
NUMBERS = range(49, 57)
SEED = 2  # of the phantoms: five of eight bleed, with all sub-types and both age groups in the paper's folds
THREE_SLICES = {"side": 512, "slice_mm": 25.0, "slices": ((0, 3), (1, 3.99))}  # of the real data's matrix
SHORT = {"data.folds": 3, "train.epochs": 1, "model.base_width": 2}
EXPERIMENTS = {  # {configuration: (further fields that shorten it, side of the network's grid, patches per slice)}
    "paper_threshold": ({}, None, None),
    "paper_full_slice": ({"train.examples_per_epoch": 2}, 640, 1),
    "paper_patches": ({"train.examples_per_epoch": 32}, 640, 49),
    "paper_patches_nifti": ({"train.examples_per_epoch": 32}, 512, 49),
}
CASES = [(name, layout) for layout in ("nifti", "jpeg", "own") for name in EXPERIMENTS]
CASES = [(name, layout) for name, layout in CASES if layout == "nifti" or name != "paper_patches_nifti"]
SECTIONS = "summary look detection groups paper-tables paper-figures beyond conventions subjects folds limits run"


def launch(*words, shared):
    """Runs launch.py in a process of its own, with one device and a user's compiler flags; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(shared / "compiled"), "ICHJAX_TRACEBACK": "1"}
    finished = subprocess.run(
        [sys.executable, "launch.py", *map(str, words)], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=900,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "Warning" not in finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder for compiled programs, which are the same in every layout, shared by all workers of pytest-xdist."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    """data_set(layout): the folder of the phantoms, made once per layout."""

    @functools.cache
    def make(layout):
        root = tmp_path_factory.mktemp("phantoms") / layout
        with pytest.MonkeyPatch.context() as patch:
            preset = dataclasses.replace(phantoms.PRESETS["demo"], **THREE_SLICES)
            patch.setitem(phantoms.PRESETS, "few", preset)
            # In this process: spawned workers would not know the preset.
            phantoms.write_dataset(root, subjects=len(NUMBERS), seed=SEED, preset="few", layout=layout, workers=1)
        return root

    return make


@pytest.fixture(params=CASES, ids="-".join)
def run(request, data_set, shared, tmp_path_factory):
    """A finished run of an experiment in a layout."""
    name, layout = request.param
    shorter, side, patches = EXPERIMENTS[name]
    path, root, fields = tmp_path_factory.mktemp("run") / name, data_set(layout), SHORT | shorter
    flags = [f"--config.{field}={value}" for field, value in fields.items()]
    words = ["crossval", f"--config=configs/{name}.py", f"--workdir={path}", f"--config.data.root={root}", *flags]
    output = launch(*words, shared=shared)
    return types.SimpleNamespace(
        name=name, layout=layout, path=path, root=root, output=output, fields=fields, side=side, patches=patches,
        results=json.loads((path / "results.json").read_text(), parse_constant=_not_a_number),
    )  # fmt: skip


def _not_a_number(word):
    raise AssertionError(f"results.json contains {word}")


def methods_of(run):
    """{title: folder} of the methods that ran."""
    if run.name == "paper_threshold":
        return {"Threshold": run.path}
    return {"U-Net": run.path, "Threshold": run.path / "baselines" / "threshold"}


def documented_files(run):
    """The files that 'The paper, table by table' in docs/evaluation.md lists for an experiment."""
    part = (ROOT / "docs" / "evaluation.md").read_text().split("## The paper, table by table")[1].split("\n## ")[0]
    files = set()
    for _, command, paths in re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", part, re.MULTILINE):
        of_any = command.startswith("any `crossval`") and ("network" not in command or run.name != "paper_threshold")
        if of_any or f"{run.name}.py" in command:
            files |= set(re.findall(r"`([\w/]+\.(?:csv|png|json))`", paths))
    return files


def rows_of(run, name):
    """The records of a table, in which no cell is NaN or infinite."""
    text = (run.path / "tables" / f"{name}.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert rows
    assert not any(cell.lower() in ("nan", "inf", "-inf") for row in rows for cell in row.values())
    return rows


def array_of(path):
    return np.asanyarray(nib.load(path).dataobj)


def check_every_documented_file_is_written(run):
    files = documented_files(run)
    assert {"tables/table6.csv", "tables/table7.csv", "figures/figure2_samples.png"} <= files
    assert ("figures/figure4_patches.png" in files) == (run.name != "paper_threshold")
    assert all((run.path / name).stat().st_size > 100 for name in files)
    assert run.output.rstrip().endswith(f"report: {run.path / 'report.html'}")


def check_only_the_shortening_fields_differ_from_the_shipped_configuration(run):
    shipped = config.to_dict(config_flags.read_config([f"--config={ROOT / 'configs' / run.name}.py"]))
    used = json.loads((run.path / "config.json").read_text())
    assert used["data"].pop("synthetic") is True
    assert used["data"].pop("root") == str(run.root)
    del shipped["data"]["root"]
    differing = {line.split(" ")[0] for line in config.differing_fields(shipped, used)}
    assert differing == set(run.fields)


def check_tables_have_the_rows_and_published_figures_of_the_paper(run):
    names = list(methods_of(run))
    six = rows_of(run, "table6")
    assert [(row["method"], row["statistic"]) for row in six] == [
        (name, statistic) for name in names for statistic in ("minimum", "maximum", "SD", "mean")
    ]
    for row in six:
        for score in ("jaccard", "dice", "sensitivity", "specificity"):
            assert 0 <= float(row[score]) <= 1
            assert row[f"paper_{score}"] or row["method"] == "Threshold"
    mean = {"U-Net": ("0.218", "0.315"), "Threshold": ("0.08", "0.135")}
    assert all((row["paper_jaccard"], row["paper_dice"]) == mean[row["method"]] for row in six[3::4])
    seven = rows_of(run, "table7")
    of_unet = [row for row in seven if row["method"] == "U-Net"]
    assert [float(row["threshold"]) for row in of_unet] == ([0.5, 0.6, 0.7, 0.8, 0.9] if "U-Net" in names else [])
    assert {row["method"] for row in seven} == set(names)
    for row in seven:
        for rate in ("sensitivity", "specificity", "accuracy"):
            assert 0 <= float(row[rate]) <= 1
            assert 0 <= float(row[f"pooled_{rate}"]) <= 1
            assert row[f"paper_{rate}"] or row["method"] == "Threshold"
    groups = {"subtype": SUBTYPES, "age": ("under_18", "18_and_over", "difference")}
    for key, expected in groups.items():
        rows = rows_of(run, f"dice_by_{key}")
        column = "age_group" if key == "age" else key
        assert [(row["method"], row[column]) for row in rows] == [(name, group) for name in names for group in expected]
        assert all(int(row["subjects"]) > 0 and math.isfinite(float(row["dice"])) for row in rows)


def check_each_fold_has_two_gray_levels_in_the_papers_range(run):
    rows = rows_of(run, "thresholds")
    assert [int(row["fold"]) for row in rows] == [0, 1, 2]
    for row in rows:
        assert (row["method"], row["paper_lower"], row["paper_upper"]) == ("Threshold", "140", "230")
        assert 100 <= int(row["lower"]) <= 210 <= int(row["upper"]) <= 255
        assert 0 < float(row["training_jaccard"]) < 1


def check_figures_open_and_are_not_blank(run):
    for path in sorted((run.path / "figures").iterdir()):
        with Image.open(path) as image:
            assert min(image.size) > 200, path.name
            assert np.asarray(image.convert("L")).std() > 5, path.name


def check_the_report_has_every_section_and_figure(run):
    page = (run.path / "report.html").read_text()
    assert re.findall(r'<section id="([\w-]+)"', page) == SECTIONS.split()
    sources = re.findall(r'src="(.{30})', page)
    assert all(source.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) for source in sources)
    encoded = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    sizes = [Image.open(io.BytesIO(base64.b64decode(text))).size for text in encoded]
    assert len(sizes) >= 10
    assert all(min(size) > 200 for size in sizes)
    for title in ("Table 6", "Table 7", "Figure 2", "Figure S1", "Figure 3", "Figure 4", "Figure 5"):
        assert re.search(rf"<h[23]>{title}\b", page)
    assert "not drawn" not in page or run.name == "paper_threshold"  # which has no patches
    assert "Synthetic data: no patient was scanned" in page
    assert ("Spacing, mm and mL are nominal" in page) == (run.layout == "jpeg")


def check_results_have_every_convention_and_subject(run):
    for folder in methods_of(run).values():
        results = json.loads((folder / "results.json").read_text(), parse_constant=_not_a_number)
        assert set(results["conventions"]) == {"paper", "pooled", "volume", "challenge", "all_slices"}
        for convention, scores in results["conventions"].items():
            for score in ("dice", "jaccard"):
                assert 0 <= scores[score]["mean"] <= 1
            assert results["empty_mask_would_score"][convention] is not None
        assert sorted(row["subject"] for row in results["subjects"]) == [*NUMBERS]
        assert {row["fold"] for row in results["subjects"]} == {0, 1, 2}
        assert results["left_out_unreadable"] == []
        assert results["nominal_spacing"] is (run.layout == "jpeg")
        assert results["counts"]["hemorrhage_subjects"] == 5
    folds = json.loads((run.path / "splits.json").read_text())
    assert folds["order"] == "paper"
    assert all(sorted(n for part in PARTS for n in fold[part]) == [*NUMBERS] for fold in folds["folds"])


def check_the_network_uses_the_papers_grid_and_patches(run):
    if run.side is None:
        assert "layers" not in run.results
        return
    patch = json.loads((run.path / "config.json").read_text())["patch"]
    for fold in range(3):
        folder = run.path / f"fold_{fold}"
        grid = json.loads((folder / "model.json").read_text())["grid"]
        assert (grid["height"], grid["width"]) == (run.side, run.side)
        assert math.prod(grid_shape(grid["height"], grid["width"], **{k: patch[k] for k in ("side", "stride")})) == (
            run.patches
        )
        (row,) = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert all(math.isfinite(value) for value in row.values())
    layers = run.results["layers"]
    assert layers[0]["output_shape"] == [patch["side"], patch["side"], SHORT["model.base_width"]]
    assert sum(layer["parameters"] > 0 for layer in layers) == 24  # convolutions


def scan_grid(run, number):
    """(shape, affine or None, voxel volume in mL) of a scan from its files, in the order x, y, slice."""
    if run.layout == "jpeg":
        slices = [p for p in (run.root / "Patients_CT" / f"{number:03d}" / "brain").glob("*.jpg") if p.stem.isdecimal()]
        return (640, 640, len(slices)), None, 0.33 * 0.33 * 5 / 1000
    folder, ending = ("ct_scans", ".nii") if run.layout == "nifti" else ("images", ".nii.gz")
    image = nib.load(run.root / folder / f"{number:03d}{ending}")
    return image.shape, image.affine, math.prod(image.header.get_zooms()) / 1000


def true_pixels(run, number):
    """Pixels of hemorrhage, counted in the files without ichjax."""
    if run.layout == "jpeg":
        files = (run.root / "Patients_CT" / f"{number:03d}" / "brain").glob("*_HGE_Seg.jpg")
        return sum(int((np.asarray(Image.open(path))[5:-5, 5:-5] > 128).sum()) for path in files)
    path = run.root / "masks" / (f"{number:03d}.nii" if run.layout == "nifti" else f"{number:03d}.nii.gz")
    mask = array_of(path) if path.exists() else np.zeros(1)
    return int((mask > mask.max() / 2).sum())


def check_predictions_are_on_the_scans_grid_and_volumes_agree_with_the_files(run):
    for method_folder in methods_of(run).values():
        results = json.loads((method_folder / "results.json").read_text())
        for row in results["subjects"]:
            shape, affine, voxel_ml = scan_grid(run, row["subject"])
            for folder in ("predictions", "probabilities"):
                image = nib.load(method_folder / folder / f"{row['subject']:03d}.nii.gz")
                assert image.shape == shape
                assert affine is None or np.allclose(image.affine, affine, atol=1e-4)
            mask = array_of(method_folder / "predictions" / f"{row['subject']:03d}.nii.gz")
            assert row["predicted_ml"] == pytest.approx(mask.sum(dtype=int) * voxel_ml, rel=1e-4)
            assert row["truth_ml"] == pytest.approx(true_pixels(run, row["subject"]) * voxel_ml, rel=1e-4)


def test_one_command_writes_the_papers_tables_and_figures(run):
    """One test per case instead of one per check, so that pytest-xdist runs no experiment twice."""
    checks = [check for name, check in globals().items() if name.startswith("check_")]
    assert len(checks) == 9
    for check in checks:
        check(run)


@pytest.mark.parametrize("layout", ["nifti", "jpeg", "own"])
def test_stats_prints_tables_4_and_5(layout, data_set, shared):
    output = launch("stats", f"--config.data.root={data_set(layout)}", shared=shared)
    assert "Table 4" in output
    assert "Table 5" in output
    assert re.search(r"Subjects +8 +82\n", output)
    assert re.search(r"With a hemorrhage, by the labels +5 +36\n", output)
    assert re.search(r"Slices of the scans +24\n", output)
