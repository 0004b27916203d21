"""A plugin of age for tests: it wraps a file key by reversing its bytes.

Protocol: age-plugin of the C2SP specifications, both state machines. Run as ``age-plugin-fake``.
"""

from __future__ import annotations

import base64
import sys

COLUMNS = 64


def receive() -> tuple[list[str], bytes]:
    """Read one stanza: its arguments and its body."""
    arguments, text = sys.stdin.readline().split()[1:], ""
    while True:
        line = sys.stdin.readline().rstrip("\n")
        text += line
        if len(line) < COLUMNS:
            return arguments, base64.b64decode(text + "=" * (-len(text) % 4))


def send(*arguments: str, body: bytes = b"") -> None:
    """Write one stanza."""
    text = base64.b64encode(body).decode().rstrip("=")
    print("->", *arguments)
    for start in range(0, len(text) + 1, COLUMNS):
        print(text[start : start + COLUMNS])
    sys.stdout.flush()


def main() -> None:
    given: list[tuple[list[str], bytes]] = []
    while not given or given[-1][0][0] != "done":
        given.append(receive())
    if sys.argv[1] == "--age-plugin=recipient-v1":
        wrapped = [body for arguments, body in given if arguments[0] == "wrap-file-key"]
        for number, key in enumerate(wrapped):
            send("recipient-stanza", str(number), "fake", "tag", body=key[::-1])
            receive()
    else:
        for arguments, body in given:
            if arguments[0] == "recipient-stanza" and arguments[2] == "fake":
                send("file-key", arguments[1], body=body[::-1])
                receive()
    send("done")


if __name__ == "__main__":
    main()
