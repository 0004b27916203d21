"""Run the project's own code against staging databases: its migrations, signal handlers and sanitizers.

``sandbox`` starts the sandbox process, in which ``migrate_process`` or ``sanitizer_process`` work.
``rehearsal`` tries the code while a restore is planned, and ``beat`` prevents a rush of scheduled tasks.
"""
