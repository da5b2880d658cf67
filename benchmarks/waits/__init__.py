"""Deferred waits: what many of them cost in one event loop, ours and those of the Amazon provider."""
