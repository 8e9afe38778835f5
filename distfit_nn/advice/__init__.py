"""Advice: `suggestion` is the face of `suggest`, over what compares maps and puts them in."""
