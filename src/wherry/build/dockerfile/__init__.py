"""The Dockerfile as text: directives, instructions with their flags, heredocs, expansion of variables, checks.

Nothing here knows images, files or the graph: text becomes typed instructions that know where they were written.
"""
