"""`signal`, as it is in C: the numbers have no names."""

from _signal import *
