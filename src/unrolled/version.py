"""The version of the package: it stands here alone, and the package's build takes it from here."""

VERSION = "0.1.0"
