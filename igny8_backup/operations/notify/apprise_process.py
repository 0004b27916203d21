"""The process that sends notifications: ``python -m igny8_backup.operations.notify.apprise_process``.

Apprise is imported in this process only. The import takes half a second, and a server that answers slowly
keeps calls of Apprise waiting for minutes. So the parent process (see ``services``) kills this process after
a time limit.

Standard input is a JSON object with ``urls``, ``kind``, ``title`` and ``body``. As soon as the outcome for a
URL is known, a line is written to standard output: the index of the URL, and ``SENT``, ``REJECTED`` or
``INVALID``. If Apprise is not installed, the only line is ``MISSING``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from typing import IO, Any

SENT, REJECTED, INVALID, MISSING = "sent", "rejected", "invalid", "missing"


def main() -> None:
    """Read the job from standard input, and send the notification to all URLs at the same time."""
    results = _private_stdout()
    logging.disable()  # messages of Apprise may contain parts of the URLs
    job = json.load(sys.stdin)
    try:
        import apprise  # noqa: F401 - whether it is installed
    except ImportError:
        results.write(f"{MISSING}\n")
        return
    lock = threading.Lock()
    threads = [
        threading.Thread(target=_send, args=(index, url, job, results, lock))
        for index, url in enumerate(job["urls"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _send(index: int, url: str, job: dict[str, Any], results: IO[str], lock: threading.Lock) -> None:
    outcome = _outcome(url, job)
    with lock:
        results.write(f"{index} {outcome}\n")


def _outcome(url: str, job: dict[str, Any]) -> str:
    from apprise import Apprise, AppriseAsset

    asset = AppriseAsset(app_id="igny8_backup", app_desc="Backup and recovery", async_mode=False)
    try:
        sender = Apprise(asset=asset)
        if not sender.add(url):
            return INVALID
        sent = sender.notify(
            title=job["title"], body=job["body"], notify_type=job["kind"], body_format="text"
        )
    except Exception:  # a plug-in of Apprise raises any exception, whose text may contain the URL
        return REJECTED
    return SENT if sent else REJECTED


def _private_stdout() -> IO[str]:
    """Return a stream to standard output, and discard what other code prints there."""
    results = os.fdopen(os.dup(1), "w", buffering=1)
    with open(os.devnull, "wb") as devnull:
        os.dup2(devnull.fileno(), 1)
    return results


if __name__ == "__main__":
    main()
