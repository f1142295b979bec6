"""The report: what was measured, fitted, searched and deployed, as one page to look at, as Markdown, or as pictures."""
