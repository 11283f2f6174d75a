"""Network definitions and their losses."""
