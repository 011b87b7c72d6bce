"""The builder as a whole: sessions, builds from their beginning to their end, their history; `builder.Builder`."""
