"""The PDF report on a part-inspection model."""
