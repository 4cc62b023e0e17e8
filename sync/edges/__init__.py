"""All that can fail, block or wait: files, the environment, the warehouse, Statsig. Edges do not import each other."""
