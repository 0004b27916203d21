"""A program: a restore or an undo that ends, as in a power cut, after a given write of its journal.

``power_cut.py WORK PHASE NUMBER IDENTITY`` exits with status 99 and without cleaning up, right after the
journal was written with PHASE for the NUMBER-th time.
"""

from __future__ import annotations

import os
import sys
from dataclasses import fields
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def main(work: str, phase: str, number: int, identity: Path) -> None:
    import django

    django.setup()

    from igny8_backup.journal import Journal, Journals
    from igny8_backup.operations.context import BackupContext, open_context
    from igny8_backup.operations.restore.planning.plan import RestoreRequest
    from igny8_backup.operations.restore.run import RestoreSession
    from igny8_backup.operations.undo.run import undo

    left = number

    class EndingJournals(Journals):
        def write(self, journal: Journal, phase_now: str | None = None) -> Journal:
            nonlocal left
            written = super().write(journal, phase_now)
            if written.phase == phase:
                left -= 1
                if not left:
                    os._exit(99)
            return written

    class EndingContext(BackupContext):
        @property
        def journals(self) -> Journals:
            return EndingJournals(self.config.state_dir)

    with open_context() as made:
        settings = {item.name: getattr(made, item.name) for item in fields(made) if item.init}
        context = EndingContext(**settings)
        if work == "undo":
            undo(context)
        else:
            session = RestoreSession(context)
            session.execute(session.plan(RestoreRequest(identity_file=identity)))


if __name__ == "__main__":
    sys.path[0:1] = [str(REPOSITORY / "testproject"), str(REPOSITORY)]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
