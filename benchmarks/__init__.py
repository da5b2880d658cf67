"""Figures, each beside the stock way in the same run."""
