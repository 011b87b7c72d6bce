"""Output: tables, rows, pages, progress, Go templates, archives. The API's JSON goes in, text comes out."""
