"""Networks on raw features: simulated sensors, and real tables."""
