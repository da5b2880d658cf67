"""The one way in which jobs are cancelled that a try has started: look, request, escalate, see the end."""
