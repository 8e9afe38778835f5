"""Maximum likelihood, divergences to N(0, 1), and layers that learn them."""
