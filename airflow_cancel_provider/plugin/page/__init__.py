"""The page "Remote jobs": what tasks have started, what became of it, and a button that cancels it."""
