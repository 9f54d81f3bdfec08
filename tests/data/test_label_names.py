"""Names of mask labels: sub-types in all spellings, what is no hemorrhage, and dataset.json of both versions."""

import json

import pytest

from ichjax.data.classes import UNKNOWN_SUBTYPE
from ichjax.data.label_names import class_of_name, read_dataset_json
from ichjax.errors import InputError

IVH, IPH, SAH, EDH, SDH = range(1, 6)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("IVH", IVH),
        ("intraventricular", IVH),
        ("Intra-ventricular haemorrhage", IVH),
        ("iph", IPH),
        ("Intraparenchymal_Hemorrhage", IPH),
        ("intracerebral hemorrhage", IPH),
        ("SAH", SAH),
        ("subarachnoidHemorrhage", SAH),
        ("EDH", EDH),
        ("extradural haematoma", EDH),
        ("acute SDH", SDH),
        ("Subdural", SDH),
        ("ICH", UNKNOWN_SUBTYPE),  # intracranial or intracerebral
        ("hemorrhage", UNKNOWN_SUBTYPE),
        ("lesion", UNKNOWN_SUBTYPE),
        ("brain hemorrhage", UNKNOWN_SUBTYPE),
        ("SDH/EDH", UNKNOWN_SUBTYPE),
        ("label 1", UNKNOWN_SUBTYPE),
        ("hemorrhagic infarct", UNKNOWN_SUBTYPE),
        ("nodule", UNKNOWN_SUBTYPE),  # 'no' is a word of its own
        ("edema", None),
        ("Perihematomal oedema", None),
        ("perihematomalEdema", None),
        ("PHE", None),
        ("brain", None),
        ("BrainMask", None),
        ("skull", None),
        ("lateral ventricles", None),
        ("subdural hygroma", None),
        ("intraventricular catheter", None),
        ("no hemorrhage", None),
        ("ignore", None),
    ],
)
def test_the_class_of_a_name(name, number):
    assert class_of_name(name) == number


def read(folder, **record):
    (folder / "dataset.json").write_text(json.dumps(record))
    return read_dataset_json(folder / "dataset.json")


@pytest.mark.parametrize(
    ("labels", "classes", "notes"),
    [
        ({"background": 0, "hemorrhage": 1}, {}, ["dataset.json: hemorrhage of unknown sub-type: hemorrhage"]),
        ({"background": 0, "IVH": 1, "Epidural": 3}, {1: IVH, 3: EDH}, []),
        ({"0": "background", "1": "IVH", "2": "SDH"}, {1: IVH, 2: SDH}, []),  # version 1
        ({"0": "background", "1": "bleeding"}, {}, ["dataset.json: hemorrhage of unknown sub-type: bleeding"]),
        ({"background": "0", "IVH": "1"}, {1: IVH}, []),
        ({"IVH": 1, "ICH": 2}, {1: IVH, 2: 255}, ["dataset.json: hemorrhage of unknown sub-type: ICH"]),
        ({"background": 0, "hemorrhage": [1, 2], "IVH": [2]}, {1: 255, 2: IVH}, [
            "dataset.json: hemorrhage of unknown sub-type: hemorrhage"]),  # regions: the smallest counts
        ({"a": [1, 2], "IVH": 2, "SDH": [2]}, {}, [
            "dataset.json: hemorrhage of unknown sub-type: a, IVH / SDH"]),
        ({}, {}, []),
    ],
)  # fmt: skip
def test_labels_of_both_versions(tmp_path, labels, classes, notes):
    assert read(tmp_path, labels=labels, channel_names={"0": "CT"}, file_ending=".nii") == (classes, notes)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            {"labels": {"background": 0, "ICH": 1, "edema": 2}},
            "label 2 is named edema; expected masks with labels of",
        ),
        ({"labels": {"0": "background", "1": "brain"}}, "label 1 is named brain"),
        ({"labels": {"IVH": 0}}, "label 0 is named IVH; expected 0 to be the background"),
        ({"labels": {"IVH": -1}}, "'IVH' has the label -1; expected a whole number from 0 to 255"),
        ({"labels": {"IVH": 256}}, "'IVH' has the label 256"),
        ({"labels": {"IVH": True}}, "'IVH' has the label True"),
        ({"labels": {"IVH": [1, None]}}, "'IVH' has the label [1, None]"),
        ({"labels": {"IVH": "one"}}, "'IVH' has the label 'one'"),
        ({"labels": {"IVH": []}}, "'IVH' has the label []"),
        ({"labels": ["background", "IVH"]}, "its labels are ['background', 'IVH']; expected such as {'background': 0"),
        ({"channel_names": {"0": "CT", "1": "CTA"}}, "lists 2 channels (CT, CTA); expected one, CT"),
        ({"modality": {"0": "CT", "1": "MR"}}, "lists 2 channels (CT, MR)"),
        ({"file_ending": ".mha"}, "the file_ending is '.mha'; expected .nii.gz or .nii"),
    ],
)
def test_what_dataset_json_may_not_say(tmp_path, record, message):
    with pytest.raises(InputError) as caught:
        read(tmp_path, **record)
    assert str(caught.value).startswith(f"dataset.json: {message}")


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_a_damaged_file_is_named_without_its_folders(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(InputError, match=r"^dataset\.json: "):
        read_dataset_json(tmp_path / "dataset.json")
