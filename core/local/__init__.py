"""Running everything from one checkout: PostgreSQL and Valkey from wheels, one process manager.

Nothing here imports Django, so that it can prepare the ground before the settings are read.
"""
