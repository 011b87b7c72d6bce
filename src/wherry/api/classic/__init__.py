"""``POST /build`` in values: from its query to a request of the builder, and from a build's progress to its lines.

No HTTP here: that is `wherry.api.routes.build`.
"""
