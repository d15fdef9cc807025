"""Self-contained HTML pages: embedded pictures, no scripts, no external resources. Extra: `report`."""
