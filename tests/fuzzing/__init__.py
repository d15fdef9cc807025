"""Coverage-guided fuzzing of all readers of files; `scripts/fuzz` runs it."""
