"""Report how unattended commands and tasks ended.

:class:`~igny8_backup.operations.notify.report.Report` is the entry point: it pings a monitoring service
(``ping``), mails ``ADMINS`` (``mail``), notifies the services in ``NOTIFY`` (``services``) and sends the
signal ``reported``. ``run_log`` logs one line of JSON. ``outcome`` decides what is new and worth a message.
``redact`` removes secrets from the text first.
"""
