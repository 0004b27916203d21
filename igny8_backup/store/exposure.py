"""Find out from the settings of a storage whether everybody can read its objects.

``Store.public_access`` asks the storage itself, which also knows policies that the settings do not show.
"""

from __future__ import annotations

from typing import Any

from django.core.files.storage import FileSystemStorage, Storage

from igny8_backup.store.kinds import AZURE, GOOGLE, S3, is_kind

PUBLIC_ACLS = {
    "public-read",
    "public-read-write",
    "authenticated-read",  # everybody with an account at the service
    "publicRead",
    "publicReadWrite",
    "authenticatedRead",
}
EVERYBODY = (
    "groups/global/AllUsers",
    "groups/global/AuthenticatedUsers",
    "allUsers",
    "allAuthenticatedUsers",
)
"""Groups in S3 and Google Cloud Storage that stand for everybody: how their names end."""
EXAMPLE = "backups/20261122T021500Z-7f3a9c/manifest.json"


def public_by_settings(storage: Storage) -> str:
    """Return which setting lets everybody read new objects of the storage; ``""`` if there is none."""
    if is_kind(storage, S3) or is_kind(storage, GOOGLE):
        for name, value in _parameters(storage).items():
            if name.lower() in ("acl", "default_acl") and value in PUBLIC_ACLS:
                return f"new objects have the ACL {value!r}"
            if name.startswith("Grant") and any(group in str(value) for group in EVERYBODY):
                return f"{name} in object_parameters names everybody"
    return ""


def perhaps_public(storage: Storage) -> str:
    """Return which setting suggests, but does not prove, that everybody can read the storage; else ``""``."""

    def option(name: str) -> Any:
        return getattr(storage, name, None)

    if isinstance(storage, FileSystemStorage) and option("_base_url") is not None:
        return "it has a base_url, like a folder that a web server serves"
    if (is_kind(storage, S3) or is_kind(storage, GOOGLE)) and option("querystring_auth") is False:
        return "its URLs are not signed (querystring_auth is False), as is usual for a public bucket"
    if is_kind(storage, AZURE) and option("custom_domain") and not option("expiration_secs"):
        return "its URLs have a custom_domain and are not signed, as is usual for a public container"
    return ""


def _parameters(storage: Any) -> dict[str, Any]:
    """Return the parameters with which the storage, or a subclass of it, stores a new object."""
    found = {"default_acl": getattr(storage, "default_acl", None)}
    for method in ("get_object_parameters", "_get_write_parameters"):
        if hasattr(storage, method):
            found |= getattr(storage, method)(EXAMPLE)
    if found.get("ACL") or found.get("acl"):
        del found["default_acl"]  # overridden
    return found
