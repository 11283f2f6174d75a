"""The report on a data set: figures, near-duplicates and suspicious labels."""
