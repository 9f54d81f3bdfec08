"""Text for the terminal."""

from hypothesis import given
from hypothesis import strategies as st

from ichjax.report.tables import text


@given(st.lists(st.sampled_from(["88.9 %", "3.0 mL", "12 mm", "a", "word", "5 to 7 %;"]), min_size=1, max_size=60))
def test_a_number_and_its_unit_stay_on_one_line(words):
    wrapped = text.paragraph(" ".join(words))
    assert " ".join(line.strip() for line in wrapped.splitlines()) == " ".join(words)
    for line in wrapped.splitlines():
        assert len(line) <= text.WIDTH
        assert not line.strip().startswith(("%", "mL", "mm"))
