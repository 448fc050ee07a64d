"""Configuration: strict YAML in, frozen models out, every fault with its file, line and remedy."""

from consentry.config.bind import Model, Name, bind
from consentry.config.document import Document, read_document
from consentry.config.faults import Faults

__all__ = ["Document", "Faults", "Model", "Name", "bind", "read_document"]
