"""Every question of a data set, with every method at every budget: a row each, in Parquet, block by block."""
