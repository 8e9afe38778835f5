"""The moment match: columns carried to normal scores by their moments, in a training step.

`match` is the face, over `columns` (kernels, threads) on the CPU and `tensors` elsewhere; `density`
the test phase's; `law`, `reach` and `rules` what they share; `patient` what the fast solver leaves.
"""
