"""Links to the services' consoles."""
