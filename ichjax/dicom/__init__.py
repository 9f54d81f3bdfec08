"""DICOM files: their frames, series and studies as volumes, and DICOM Segmentations."""
