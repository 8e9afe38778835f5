"""Gamma and beta, and the noise of statistics of a batch."""
