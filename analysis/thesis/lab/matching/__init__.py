"""Fits by moments, Newton's iteration in four bases, and training with them."""
