"""The benchmark of reading the RSNA layout, on a few small files."""

import numpy as np

from benchmarks import rsna_reading
from ichjax.data import rsna_index


def test_copies_are_studies_of_their_own_and_every_variant_reads_them(tmp_path, monkeypatch):
    monkeypatch.setenv("ICHJAX_CACHE", str(tmp_path / "cache"))
    rsna_reading.write_copies(tmp_path / "set", 70, preset="demo")
    rows = rsna_reading.measure(tmp_path / "set", slices=33, rounds=1)
    index = rsna_index.open_index(tmp_path / "set")
    assert (len(index.names), index.skipped) == (70, {})
    assert len(np.unique(index.scans["subject"])) == len(index.scans) == -(-70 // int(index.scans["slices"].max()))
    assert [row["what"] for row in rows][:3] == ["index, two processes", "index again", "pydicom, one thread"]
    assert [row["files"] for row in rows if row["what"].startswith("slices")] == [64] * 4
    assert all(row["files a second"] > 0 for row in rows)
