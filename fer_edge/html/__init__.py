"""HTML pages that stand alone: pictures inside, no scripts, nothing loaded from elsewhere. Extra: `report`."""
