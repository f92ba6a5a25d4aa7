"""What leaves the house: recorded runs as repositories of models, and the live page as the browser runs it."""


class PublishError(ValueError):
    """Something cannot be published; the message says why, and what would do."""
