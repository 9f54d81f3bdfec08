"""The table of slice labels in the RSNA 2019 layout: repeated rows, contradictions, malformed rows."""

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ichjax.data import rsna_labels
from ichjax.data.rsna_labels import DETECTION_LABELS
from ichjax.errors import InputError
from tests import dicom_slices
from tests.dicom_slices import table_rows, write_table


def test_labels_are_in_the_order_of_the_projects_subtypes(tmp_path):
    write_table(tmp_path, [*table_rows("ID_1", ["epidural", "intraventricular"]), *table_rows("ID_2")])
    table = rsna_labels.read_slice_labels(tmp_path / "stage_2_train.csv")
    labels, known = table.labels(["ID_2", "ID_1", "ID_3"])
    assert DETECTION_LABELS == ("IVH", "IPH", "SAH", "EDH", "SDH", "any")
    assert labels.astype(int).tolist() == [[0] * 6, [1, 0, 0, 1, 0, 1], [0] * 6]
    assert known.tolist() == [True, True, False]
    assert table.notes == ()


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path):
    path, lines = tmp_path / "stage_2_train.csv", ["ID,Label", *table_rows("ID_1", ["subdural"]), "", ""]
    path.write_text("\r\n".join(lines), encoding="utf-8-sig")
    assert set(rsna_labels.read_slice_labels(path).known) == {"ID_1"}
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"stage_2_train\.csv: cannot be read"):
        rsna_labels.read_slice_labels(path)


def test_repeated_rows_count_once_and_contradictions_are_reported(tmp_path):
    rows = [*table_rows("ID_1"), *table_rows("ID_2", ["epidural"]), *table_rows("ID_3"), *table_rows("ID_4")]
    rows += ["ID_1_any,0", "ID_1_any,0", "ID_3_epidural,1"]  # repeated; a contradiction
    rows = [row if row != "ID_2_any,1" else "ID_2_any,0" for row in rows if row != "ID_4_subdural,0"]
    write_table(tmp_path, rows)
    table = rsna_labels.read_slice_labels(tmp_path / "stage_2_train.csv")
    assert set(table.known) == {"ID_1"}
    assert table.notes == (
        "stage_2_train.csv: repeated rows are counted once: 3",
        "stage_2_train.csv: 'any' contradicts the sub-types of 1 images, whose labels are not used: ID_2",
        "stage_2_train.csv: repeated rows contradict each other of 1 images, whose labels are not used: ID_3",
        "stage_2_train.csv: rows are missing of 1 images, whose labels are not used: ID_4",
    )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["ID,Label"], "no rows below its header"),
        (["image,label", "ID_1_any,0"], "begins with 'image,label'; expected the header ID,Label"),
        ([], "begins with ''; expected"),
        (["ID,Label", "ID_1_any,0", "ID_1_chronic,0"], "line 3: holds 'ID_1_chronic,0'"),
        (["ID,Label", "ID_1_any,2"], "line 2: holds 'ID_1_any,2'"),
        (["ID,Label", "any,1"], "line 2: holds 'any,1'"),
    ],
)
def test_a_malformed_table_is_refused(tmp_path, lines, message):
    (tmp_path / "stage_2_train.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match=message):
        rsna_labels.read_slice_labels(tmp_path / "stage_2_train.csv")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(dicom_slices.KINDS), st.integers(0, 1)), min_size=1))
def test_any_table_gives_the_labels_that_its_rows_agree_on(tmp_path_factory, rows):
    root = tmp_path_factory.mktemp("table")
    write_table(root, [f"ID_{image}_{kind},{value}" for image, kind, value in rows])
    table = rsna_labels.read_slice_labels(root / "stage_2_train.csv")
    values = collections.defaultdict(set)
    for image, kind, value in rows:
        values[f"ID_{image}", kind].add(value)
    for image in {f"ID_{row[0]}" for row in rows}:
        found = [values.get((image, rsna_labels.RSNA_TYPE[label]), {0, 1}) for label in DETECTION_LABELS]
        usable = all(len(one) == 1 for one in found)
        flags = [max(one) for one in found]
        if usable and max(flags[:5]) == flags[5]:
            assert table.labels([image])[0].astype(int).tolist() == [flags]
        else:
            assert image in table.unusable
