"""Why a call cannot be imported. The texts are for whoever runs the command, and quote nothing of what was said."""


class Unimportable(Exception):
    """Nothing of it was written."""
