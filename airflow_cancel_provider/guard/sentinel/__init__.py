"""A small process that outlives its task and cancels what the task has started.

``client``: the task's side. ``main``: what the process runs while all is well; a script that imports next to
nothing. ``cancel``: what it loads when it must act.
"""
