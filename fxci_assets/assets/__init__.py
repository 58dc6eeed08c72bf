"""The software-defined assets, one module per subject, thin over `fxci_assets.pipeline`.

Here belong what an asset depends on, and what Dagster is told of a materialisation. What a table's
columns are is `fxci_assets.tables`; how it is filled is the pipeline's.
"""
