"""Labelled data sets on disk, checked before anything is learned from them."""
