"""How recorded values are distributed, unit by unit and pooled."""
