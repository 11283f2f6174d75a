"""The report of parts that were taken from CAD files to a model."""
