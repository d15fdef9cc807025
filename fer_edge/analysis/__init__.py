"""Images and videos analysed as a whole: results of every face, annotated copies, tables, and a page."""
