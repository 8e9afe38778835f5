"""Capture: which calls (`sites`), whose units (`axes`), hooks (`recorder`), disk (`store`), `readers`."""
