"""The report folder: certificates as a page, judged by what a reader can see in it."""
