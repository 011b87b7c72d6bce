"""After a restart or a crash: the database, the keeper and the machine are brought into agreement."""
