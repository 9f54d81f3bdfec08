"""Compressed DICOM is decoded by the extra 'dicom' alone: streams of other encoders, bit for bit."""

import base64

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless

from ichjax.dicom import pixels

# `stored()` as encoded by CharLS (pyjpegls 1.5.1), of its bits as unsigned numbers.
JPEG_LS = (
    "/9j/9wALEAAOABIBAREA//gADQH//wASAEMBFABA/9oACAEBAAAAAD50AIAgCAQCAQCAgICAgICAgIEB1I6ng7HQ5LBXADLXqwVysVSoAGiw2DEm"
    "AESokSNIlCUtiPLagT6eTqJkSoky3iTLScW1pZRKiTAFhXVlVUSREeAIlSNTUlFQT0jSLAJ6ctWrBmci1hEiJVixWrVDMZDq6pUqUpIkOAUpGiRS"
    "pUKEjUGAUKFCdOMzoMAnSJI06dOmGYz/LJkyZMkiJER9VMoUiTJkyRp/AVVVVVSJPYCqqgUKqiiQp3AUUUUUGbz3UUUT6gTTTGazvTTTTTSJOYCa"
    "aaeT6aaQpvATTTTSGbzmAkkknU8koZrN9JSlKSJI0k6KlKTidUkK1gKUpKUgWcBKUpAB7P/Z"
)


def stored():
    """int16 [14, 18], from -1000 to 1200."""
    rows, columns = np.mgrid[:14, :18]
    values = (rows * 37 + columns * 91) % 700 - 100
    values[0], values[-1, -1] = -1000, 1200
    return values.astype(np.int16)


@pytest.fixture
def write(tmp_path):
    """write(syntax): a CT image of `stored()` in that transfer syntax; returns its path."""

    def make(syntax):
        path = tmp_path / "ct.dcm"
        image = sitk.GetImageFromArray(stored()[None])
        for tag, value in {"0008|0060": "CT", "0028|1052": "0", "0028|1053": "1"}.items():
            image.SetMetaData(tag, value)
        compressor = "JPEG2000" if syntax == JPEG2000Lossless else "JPEG"  # by GDCM and OpenJPEG
        sitk.WriteImage(image, path, useCompression=True, compressor=compressor)
        dataset = pydicom.dcmread(path)
        if syntax == JPEGLSLossless:
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.PixelData = encapsulate([base64.b64decode(JPEG_LS)])
            dataset.save_as(path)
        assert dataset.file_meta.TransferSyntaxUID == syntax
        return path

    return make


@pytest.fixture
def only_the_extra():
    """Takes away all decoders but those of pylibjpeg, which the extra brings; pillow, for one, is always there."""
    taken = []
    for decoder in map(get_decoder, (JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)):
        for plugin in set(decoder.available_plugins) - {"pylibjpeg"}:
            decoder.remove_plugin(plugin)
            taken.append((decoder, plugin))
    yield
    for decoder, plugin in taken:
        decoder.add_plugin(plugin, (f"pydicom.pixels.decoders.{plugin}", "_decode_frame"))


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.keyword)
def test_lossless_streams_are_decoded_bit_for_bit(write, only_the_extra, syntax):
    decoded = pixels.decode(write(syntax))
    np.testing.assert_array_equal(decoded.squeeze(), stored())
