"""The settings of the test project with dumps in chunks."""

from project.settings import *  # noqa: F403 - a settings module
from project.settings import IGNY8_BACKUP as _PROJECT

IGNY8_BACKUP = {**_PROJECT, "CHUNKED_DUMPS": ["default"]}
