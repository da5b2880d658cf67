"""The one deferred wait for all services, and the poll it shares."""
