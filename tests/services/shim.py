"""A C library in which calls fail as on a file system that lacks them: loaded into a child by LD_PRELOAD."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#define fstatvfs64 hidden_declaration
#include <sys/statvfs.h>
#undef fstatvfs64

static int refused(const char *name) {
    const char *number = getenv(name);
    if (number == NULL) return 0;
    char times[64];
    snprintf(times, sizeof times, "%s_times", name);
    const char *left = getenv(times);
    if (left != NULL) {
        char less[16];
        if (atoi(left) <= 0) return 0;
        snprintf(less, sizeof less, "%d", atoi(left) - 1);
        setenv(times, less, 1);
    }
    errno = atoi(number);
    return 1;
}

#define SHIM(name, parameters, arguments)                                    \
    int name parameters {                                                    \
        if (refused("SHIM_" #name)) return -1;                               \
        int (*next) parameters = (int (*) parameters)dlsym(RTLD_NEXT, #name); \
        return next arguments;                                               \
    }

SHIM(flock, (int fd, int operation), (fd, operation))
SHIM(fsync, (int fd), (fd))
SHIM(syncfs, (int fd), (fd))
SHIM(fchmod, (int fd, unsigned int mode), (fd, mode))
#define MOUNT(name)                                                       \
    int name(int fd, struct statvfs *found) {                             \
        int (*next)(int, struct statvfs *) = dlsym(RTLD_NEXT, #name);     \
        int result = next(fd, found);                                     \
        if (getenv("SHIM_read_only") != NULL) found->f_flag |= ST_RDONLY; \
        return result;                                                    \
    }

MOUNT(fstatvfs)
#ifdef __LP64__
int fstatvfs64(int fd, struct statvfs *found) __attribute__((alias("fstatvfs")));
#endif

SHIM(link, (const char *from, const char *to), (from, to))
SHIM(renameat2, (int a, const char *from, int b, const char *to, unsigned int flags), (a, from, b, to, flags))
"""


def build_shim(folder: Path) -> Path:
    """Compile the library and return its path."""
    source, library = folder / "shim.c", folder / "shim.so"
    source.write_text(SOURCE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def refusing(library: Path, *, times: int | None = None, **calls: int) -> dict[str, str]:
    """The environment of a process in which each of these calls fails with the given error number.

    With ``times``, only the first calls of each kind fail.
    """
    found = {"LD_PRELOAD": str(library)}
    for name, number in calls.items():
        assert number in errno.errorcode
        found[f"SHIM_{name}"] = str(number)
        if times is not None:
            found[f"SHIM_{name}_times"] = str(times)
    return found
