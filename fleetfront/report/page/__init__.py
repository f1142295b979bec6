"""The page is the report as one HTML file."""
