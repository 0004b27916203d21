"""Prints the README's command that ends in the word given, so that what is tested is what is promised."""

import re
import sys
from pathlib import Path

readme = (Path(__file__).parent.parent / "README.md").read_text()
commands = re.findall(r"^\$ (python3 -m venv .*)$", readme, re.MULTILINE)
(found,) = {command for command in commands if command.endswith(sys.argv[1])}
print(found)
