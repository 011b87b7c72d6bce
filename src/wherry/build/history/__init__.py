"""What happened in a build, and the builds of the past: progress that is kept and read again, records."""
