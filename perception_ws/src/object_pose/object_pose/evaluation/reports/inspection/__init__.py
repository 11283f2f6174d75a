"""A classifier of part inspections, told to a head of engineering: measured afresh, drawn, and laid out as a PDF."""
