"""Files at the edge: frame sources, BOP folders, bags, and writers of results."""
