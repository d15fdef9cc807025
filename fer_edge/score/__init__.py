"""Bulk scoring of images and videos to Parquet: a fixed plan of shards, and workers that score them one by one."""
