"""What the free text of a header says about a series."""

import numpy as np
import pydicom
import pytest

from ichjax.dicom.description import Description, denies_contrast, interpret, interpret_header, names_contrast
from ichjax.dicom.frame import read_frames

WITH_CONTRAST = """post contrast|HEAD W CONTRAST|HEAD WITH|Head W/O & W contrast|CTA Head|CTAHead 0.75|HEAD C+|Head +C|
    Angio 1.0|Carotids|CECT|contrast-enhanced|venous phase|Head POST|Kopf mit KM|Schädel KM|CCT nach KM|tête avec
    injection|Crâne injecté|TSA|cráneo con contraste|TC CRANEO C/C|crânio com contraste|encefalo con mdc|頭部造影|
    脑增强|血管|頭部CTA|3DCTA|postcontrast|HEAD ENH|Crâne IV+|голова с контрастом|Ангиография|hlava s kontrastem|
    hjerne med kontrast|agy kontrasztos|kafa kontrastlı|pää varjoaine|조영증강 뇌"""
WITHOUT_CONTRAST = """head|routine brain 5mm|HEAD W/O|Head WO contrast|noncontrast head|No IV contrast|Unenhanced head|
    pre-contrast|HEAD C-|Contrast: none|Head post op|Post-thrombectomy|posterior fossa|Kopf nativ|Kopf ohne KM|tête sans
    injection|Crâne non injecté|coupes fines cerveau|cráneo sin contraste|TC CRANEO S/C|crânio sem contraste|encefalo
    senza mdc|頭部単純|颅脑平扫|5.0 H31s|non enh|bez kontrastu|
    голова без контраста|hode uten kontrast|hjerne uden kontrast|
    hjärna utan kontrast|kontrasztanyag nélkül|kafa kontrastsız|뇌 비조영|"""


def texts(table):
    return [" ".join(text.split()) for text in table.split("|")]


@pytest.mark.parametrize("text", texts(WITH_CONTRAST))
def test_contrast_is_named_in_several_languages(text):
    assert names_contrast(text)
    assert not denies_contrast(text)


@pytest.mark.parametrize("text", texts(WITHOUT_CONTRAST))
def test_contrast_is_denied_or_not_named(text):
    assert not names_contrast(text)


@pytest.mark.parametrize(
    ("part", "table"),
    [
        (
            "head",
            "HEAD|Brain|SKULL|Schädel nativ|Schaedel|Kopf|CCT|tête|crâne|cráneo|cabeza|cabeça|cervello|頭部|颅脑",
        ),
        ("head", "頭部CT|головной мозг|뇌 CT"),
        ("neck", "NECK|Hals|cou|cuello|pescoço|collo|颈部"),
        ("spine", "CSPINE|C-Spine 2.0|HWS|cervical|rachis|columna|coluna|Wirbelsäule|腰椎|позвоночник|경추 CT"),
        ("chest", "CHEST|Thorax|ThorAbd|tórax|poumon|胸部"),
        ("abdomen", "ABDOMEN|Bauch|pelvis|Becken|bassin|腹部"),
        ("body", "whole body trauma|Polytrauma|Ganzkörper|TAP|全身"),
        ("face", "SINUS|Orbita|temporal bone|Felsenbein|NNH|massif facial"),
        ("", "HeadNeck|HEAD AND NECK|Kopf/Hals|standard|5mm|"),
    ],
)
def test_body_parts_are_named_in_several_languages(part, table):
    assert {text: interpret(text).part for text in texts(table)} == dict.fromkeys(texts(table), part)


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        ("MIP", "MIP|AX MIP THIN|mIP 10|MinIP|derived secondary mip|max_ip"),
        ("perfusion", "CTP 4D|Perfusion|Head Perf|CBF|rCBV|TTP|Tmax|Dynamic|PreMonitoring|灌注"),
        ("dual energy", "Mono 70 keV|Monoenergetic Plus|VNC|Iodine map|virtual_monoenergetic"),
        ("rendering", "VRT|Volume Rendering|Curved"),
        ("subtraction", "Bone removal|DSA|Subtraction"),
        ("localizer", "Scout|Topogram|Localizer"),
        ("", "head|original primary axial add|Head 5.0 MPR|derived secondary mpr|TC de craneo|carotid"),
    ],
)
def test_computed_images_are_named(kind, table):
    assert {text: interpret(text).computed for text in texts(table)} == dict.fromkeys(texts(table), kind)


def test_the_text_outranks_the_body_part_of_the_protocol():
    assert interpret("C-Spine", "HEAD").part == "spine"
    assert interpret("2.0 H31s", "HEAD").part == "head"


@pytest.mark.parametrize(("text", "contrast"), [("", True), (" ", True), ("5.0 H31s", False)])
def test_the_protocol_counts_only_without_a_description(text, contrast):
    ds = pydicom.Dataset()
    ds.SeriesDescription, ds.ProtocolName = text, "CTA Head"
    assert interpret_header(ds).contrast == contrast


def test_a_text_in_japanese_is_decoded_by_its_character_set():
    ds = pydicom.Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SeriesDescription = "頭部造影"
    assert interpret_header(ds) == Description(part="head", contrast=True)


def test_the_text_itself_is_not_kept(ct_series, tmp_path):
    hu = np.zeros((1, 8, 8), np.int16)
    folder = ct_series(tmp_path / "a", hu, (0.0,), SeriesDescription="HEAD DOEJANE mit KM")
    (frame,), _ = read_frames(folder / "00.dcm", 1)
    assert frame.description == Description(part="head", contrast=True)
    assert "DOEJANE" not in f"{frame._header}{frame.description}"
