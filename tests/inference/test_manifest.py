"""manifest.json of `predict`: what was asked, from what, what came of it, and what it cost."""

import hashlib
import json

import pytest

import launch
from ichjax.scan import nifti
from ichjax.scan import volume as volumes

pytestmark = pytest.mark.xdist_group("predict")


@pytest.fixture
def predict(predict_command, tmp_path):
    """predict(*inputs, options): (exit status, the manifest); the output is tmp_path / 'out'."""

    def call(*inputs, options=()):
        status, _ = predict_command(*inputs, options=options)
        return status, json.loads((tmp_path / "out" / "manifest.json").read_text())

    return call


def states(manifest):
    return {entry["scan"]: entry["state"] for entry in manifest["inputs"]}


def test_the_manifest_names_inputs_and_outputs_by_digest(predict, tiny_root, tmp_path):
    scan, damaged = tiny_root / "ct_scans" / "049.nii", tmp_path / "damaged.nii"
    damaged.write_bytes(scan.read_bytes()[:400])
    status, manifest = predict(scan, damaged, tmp_path / "missing.nii", options=["--config.predict.threshold=0.7"])
    assert status == 2
    assert manifest["options"]["predict"] == {"threshold": 0.7}
    assert manifest["options"]["probability"] is False
    assert manifest["scans"] == 2
    assert states(manifest) == {"": "skipped", "049": "predicted", "damaged": "skipped"}
    by_name = {entry["scan"]: entry for entry in manifest["inputs"]}
    assert by_name["049"]["scan_digest"] == volumes.scan_digest(nifti.read_nifti(scan))
    assert "damaged" in by_name["damaged"]["problem"]
    assert str(tmp_path) not in json.dumps(manifest)
    assert set(manifest["outputs"]) == {f"049/{name}" for name in ("mask.nii.gz", "overlay.png", "prediction.json")}
    for name, digest in manifest["outputs"].items():
        data = (tmp_path / "out" / name).read_bytes()
        assert digest == hashlib.blake2b(data, digest_size=16).hexdigest()
    prediction = json.loads((tmp_path / "out" / "049" / "prediction.json").read_text())
    assert manifest["run_digest"] == prediction["run_digest"]
    assert manifest["config_digest"] == prediction["config_digest"]
    assert 50 < prediction["peak_memory_mb"] == manifest["peak_memory_mb"] < 100_000
    assert manifest["seconds"] >= prediction["seconds"]


def test_what_is_kept_is_in_the_manifest_of_the_next_command(predict, tiny_root, tmp_path, capsys):
    scans = [tiny_root / "ct_scans" / f"{number:03d}.nii" for number in (49, 50)]
    predict(scans[0])
    _, manifest = predict(*scans)
    assert states(manifest) == {"049": "kept", "050": "predicted"}
    assert {name.split("/")[0] for name in manifest["outputs"]} == {"049", "050"}
    assert launch.main(["info", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "2: 1 kept, 1 predicted" in text
    assert manifest["run_digest"] in text
    assert "MB of memory" in text
    _, manifest = predict(*scans)
    assert manifest["peak_memory_mb"] is None  # nothing was predicted
    assert launch.main(["info", str(tmp_path / "out")]) == 0
    assert "MB" not in capsys.readouterr().out


def test_an_interrupted_command_leaves_a_manifest_of_what_is_done(predict, tiny_root, tmp_path, monkeypatch):
    from ichjax.inference import model

    scans, predict_scan, calls = sorted((tiny_root / "ct_scans").iterdir())[:4], model.predict, []

    def interrupted(volume, *arguments, **options):
        calls.append(volume.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict_scan(volume, *arguments, **options)

    monkeypatch.setattr(model, "predict", interrupted)
    status, manifest = predict(*scans)
    assert status == 130
    assert manifest["scans"] == 4
    assert set(states(manifest).values()) == {"predicted"}
    assert 1 <= len(manifest["inputs"]) <= 2
