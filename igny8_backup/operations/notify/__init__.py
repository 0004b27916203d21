"""Report how unattended commands and tasks ended.

:class:`~igny8_backup.operations.notify.report.Report` is the entry point: it pings a monitoring service
(``ping``), mails ``ADMINS`` (``mail``) and sends the signal ``reported``. Before, ``redact`` removes secrets
from the text.
"""
