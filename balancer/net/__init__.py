"""Reaching and being reached: sockets, dialling, and naming what went wrong."""
