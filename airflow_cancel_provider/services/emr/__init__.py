"""Steps of Amazon EMR clusters."""
