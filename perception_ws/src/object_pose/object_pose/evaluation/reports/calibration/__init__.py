"""The report on a calibration."""
