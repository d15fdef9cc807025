"""Static page that recognises expressions in the browser."""

from fer_edge.web.folder import write_site
from fer_edge.web.site import make_site

__all__ = ["make_site", "write_site"]
