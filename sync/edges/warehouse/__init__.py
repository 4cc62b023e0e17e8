"""The warehouse: DuckDB, as the profile names it, under the session that dbt has there."""

from sync.edges.warehouse.opener import silent
from sync.edges.warehouse.opening import Warehouse, open_warehouse
from sync.edges.warehouse.output import target_place
from sync.edges.warehouse.session import Session

__all__ = ["Session", "Warehouse", "open_warehouse", "silent", "target_place"]
