"""The Container Device Interface: devices by name, as specifications of their vendors describe them."""
