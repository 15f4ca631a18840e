NAME = "package"


class RefusedError(Exception):
    """A class of the runtime's own."""


class Runner:
    def __init__(self, files, spec):
        self.content = files["engine"]

    def run(self, feed):
        if not feed:
            raise RefusedError("nothing to double")  # the line that a traceback must show
        return {name: array * 2 for name, array in feed.items()}

    def close(self):
        pass
