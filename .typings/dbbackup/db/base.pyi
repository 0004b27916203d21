from typing import Any

class BaseDBConnector:
    exclude: list[str]
    @property
    def settings(self) -> dict[str, Any]: ...

def get_connector(
    database_name: str | None = ..., *, connector_path: str | None = ...
) -> BaseDBConnector: ...
