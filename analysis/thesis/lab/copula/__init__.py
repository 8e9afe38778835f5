"""Soft ranks, test phases, targets and feature maps of the copula transform."""
