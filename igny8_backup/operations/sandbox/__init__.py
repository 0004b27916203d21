"""Run the project's own code in a separate process, which starts the project in its usual way.

``start`` finds out how the project was started. ``process`` starts it again in the sandbox process and does
the work in place of a management command. ``isolation`` changes the settings before any app is loaded, with
``import_hooks``, ``drivers``, ``mail`` and an in-memory Redis (``redis``). ``dry_calls`` stops code that
writes or starts something; ``failures`` describes exceptions. The package knows nothing about backups:
``operations.staging`` passes it the work to do.
"""
