"""An AWS account with a hundred thousand living jobs and the published quotas, as a process of its own.

It speaks only the calls that a sweep makes. A job is made from its number whenever it is asked for; only
those that were cancelled are stored.
"""
