"""The engine: DuckDB inside the process. It knows no warehouse and no network."""
