"""Flags: the parser (:mod:`wherry.cli.flags.parser`), the tables, and one module for each syntax of values."""
