"""Densities of torch tensors: the same problems on batches, on any device, with gradients."""
