"""What a data set holds and what is suspicious about it, as figures, JSON and a page."""
