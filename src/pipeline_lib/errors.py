"""Errors whose message is meant for the person who runs the study.

Each message is one line that names the thing, the value that was found and what is allowed.
"""


class PipelineError(Exception):
    """Something the user can mend; the message says what."""


class ConfigError(PipelineError):
    """The configuration asks for something that does not exist or cannot be."""


class DataError(PipelineError):
    """Raw data is missing, altered or malformed."""


class ArtifactError(PipelineError):
    """A file under results/ is absent, of another schema or from another configuration."""
