"""Distributions that data are carried to or from: `arrays` for NumPy, `tensors` with a gradient."""
