"""Geometric calibration of cameras, depth and robots: pure functions of views of a board, with covariance."""
