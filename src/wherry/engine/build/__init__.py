"""Steps of builds: containers that are in no table, from their start to the last trace of them."""
