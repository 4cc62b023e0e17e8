"""Events and audiences from a data warehouse to Statsig, after ``dbt build``."""

__version__ = "0.2.0"
