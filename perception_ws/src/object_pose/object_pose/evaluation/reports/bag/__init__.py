"""The report on a bag."""
