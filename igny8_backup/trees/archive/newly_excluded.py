"""Find the existing files that the last backup of a tree holds and that the rules exclude now.

The cause can be an upload by a user of the application: of a file whose name matches a pattern. If the
settings exclude caches, an uploaded ``CACHEDIR.TAG`` excludes even its whole folder. So the first backup that
leaves such files out reports them.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict

from igny8_backup.trees.model.names import escape, unescape
from igny8_backup.trees.scan.excludes import CACHE_TAG, is_cache_tag
from igny8_backup.trees.scan.scan import Excluded

BY_TAG, BY_PATTERN = "by CACHEDIR.TAG", "by a pattern"
MAX_FOLDERS = 100
"""Largest number of folders that are named; further ones are counted together."""


class NewlyExcluded:
    """Counts, for each folder, the files of the last backup that still exist and are excluded now.

    ``ParentIndex`` calls it with the index line of each file that the walk did not find. Files are counted
    for the folder that is excluded or, if a pattern matches a file itself, for the folder that holds the
    file.
    """

    def __init__(self, root: str, excluded: Excluded | None, *, exclude_caches: bool) -> None:
        self._root = os.fsencode(root)
        self._excluded = excluded
        self._exclude_caches = exclude_caches
        self._found: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        self._tags: dict[bytes, bool] = {}  # is it tagged? for each folder above the last file

    def __call__(self, line: bytes) -> None:
        """Count the file in this line of the index if it is excluded now."""
        record = json.loads(line)
        path = unescape(record["path"])
        if (place := self._place(path)) is None or not os.path.lexists(self._path(path)):
            return
        key = escape(place[0]), place[1]
        counts = self._found[key if key in self._found or len(self._found) < MAX_FOLDERS else ("", "")]
        counts[0] += 1
        counts[1] += record["size"]

    def folders(self) -> list[tuple[str, int, int, str]]:
        """Return each folder (escaped), the number of its files, their bytes, and why it is excluded.

        The folders beyond ``MAX_FOLDERS`` have one entry, without a name.
        """
        return [(folder, files, size, why) for (folder, why), (files, size) in self._found.items()]

    def _place(self, path: bytes) -> tuple[bytes, str] | None:
        """Return the folder for which the file ``path`` is counted, and why the file is excluded.

        The folder is the excluded folder that contains the file or, if a pattern matches the file itself, the
        folder that holds it. Returns None if the file is not excluded.
        """
        parts = path.split(b"/")
        above = [b"/".join(parts[:count]) for count in range(1, len(parts))]
        self._tags = {folder: tagged for folder, tagged in self._tags.items() if folder in above}
        for folder in above:
            if self._excluded is not None and self._excluded(folder, True):
                return folder, BY_PATTERN
            if self._exclude_caches and self._is_tagged(folder):
                return folder, BY_TAG
        if self._excluded is not None and self._excluded(path, False):
            return b"/".join(parts[:-1]), BY_PATTERN
        return None

    def _is_tagged(self, folder: bytes) -> bool:
        if folder not in self._tags:
            try:
                fd = os.open(self._path(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    self._tags[folder] = is_cache_tag(CACHE_TAG, fd)
                finally:
                    os.close(fd)
            except OSError:
                self._tags[folder] = False
        return self._tags[folder]

    def _path(self, path: bytes) -> bytes:
        return os.path.join(self._root, path)
