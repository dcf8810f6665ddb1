"""Measured claims: `papers` re-runs published tables, `speed` measures ratios against a peer."""
