"""A value with some of its fields replaced."""

__all__ = ["replace"]


def replace(value, **changes):
    """Return the value with other fields."""
    fields = {name: getattr(value, name) for name in type(value).__struct_fields__}
    return type(value)(**{**fields, **changes})
