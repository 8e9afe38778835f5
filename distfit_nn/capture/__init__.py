"""Capture: which calls (`sites`), hooks (`recorder`), disk (`store`), any source (`readers`)."""
