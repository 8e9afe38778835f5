"""Layers put into models: in the place of other norms (`convert`), and before ReLUs (`insert`)."""
