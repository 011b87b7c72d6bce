"""What happens to a container: start, stop, restart, exec, health checks, update, exit, removal."""
