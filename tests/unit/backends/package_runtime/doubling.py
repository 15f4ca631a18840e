import time

NAME = "package"


class RefusedError(Exception):
    """A class of the runtime's own."""


class Runner:
    def __init__(self, files, spec):
        self.content = files["engine"]
        self.notes = []
        self.seconds = spec.get("seconds", 0.0)
        self.kept = [] if spec.get("keep") else None

    def run(self, feed):
        if not feed:
            raise RefusedError("nothing to double")  # the line that a traceback must show
        time.sleep(self.seconds)
        if "first run" not in self.notes:
            self.notes.append("first run")
        if self.kept is not None:
            self.kept.extend(feed.values())
        return {name: array * 2 for name, array in feed.items()}

    def close(self):
        pass
