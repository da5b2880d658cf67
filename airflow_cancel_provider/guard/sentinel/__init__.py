"""A small process that outlives its task and cancels what the task has started.

``link``: the task's end. ``idle``: what the process runs while all is well; a script that imports next
to nothing. ``work``: what it loads when it must act. They speak messages whose first byte is their kind.
"""
