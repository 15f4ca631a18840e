"""Questions to a graph; nothing here changes one."""
