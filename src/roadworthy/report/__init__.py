"""The certificate as a page for people."""
