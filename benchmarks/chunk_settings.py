"""The settings of the test project with dumps and large files in chunks."""

from project.settings import *  # noqa: F403 - a settings module
from project.settings import IGNY8_BACKUP as _PROJECT

IGNY8_BACKUP = {**_PROJECT, "CHUNKED_DUMPS": ["default"], "CHUNKED_TREES": ["sites-data"]}
