"""The order in which scripts are run and shown: that of the thesis."""

CHAPTERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "What batch norm does to distributions",
        ("distributions", "convnet_distributions", "pooling"),
    ),
    ("Learnable transformations", ("maps", "convergence", "activations")),
    ("Maximum likelihood and divergence", ("mle", "kl_layer", "kl_asymmetry")),
    ("Moment matching", ("moment_fits", "moment_newton", "moment_training")),
    ("The copula transform", ("copula_example", "soft_ranks", "copula_scatter")),
    ("The main claim", ("tables", "copula_convergence")),
    ("Learning gamma and beta", ("affine", "batch_noise")),
    ("Future work", ("conv_copula", "targets", "test_phases")),
    (
        "Where a shaped layer wins, and where not",
        ("raw_features", "real_table", "quantisation", "stress"),
    ),
)
SCRIPTS = tuple(name for _, names in CHAPTERS for name in names)
