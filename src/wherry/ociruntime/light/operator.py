"""`operator`, the functions that are written in C."""

from _operator import *
