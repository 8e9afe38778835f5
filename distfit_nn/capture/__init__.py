"""Capture: sites (`sites`), their units (`axes`), hooks (`recorder`), disk (`store`), `readers`."""
