"""The sentinel: a small process that cancels the jobs of its task when the task's own process can't.

``client`` is the task's side. ``main`` is the script that waits for the end of the task; it imports almost
nothing. ``cancel`` is loaded when there is something to cancel.
"""
