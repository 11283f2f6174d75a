"""The report on a model made from CAD files."""
