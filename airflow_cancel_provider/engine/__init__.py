"""The one way to cancel what a try has started: describe, request, escalate, see the end."""
