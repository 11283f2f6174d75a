"""The report of the gate before a model is promoted."""
