"""The vision folder: what a picture becomes, and how answers are shown."""
