"""The demo backend: a small HTTP service that says who it is, and fails when it is told to.

It stands behind the balancer in the compose file, in `balancer demo` and in the tests, and needs aiohttp alone (uvloop
is used where it is installed). `python -m backends --port 0 --name a1 --zone zone-a` starts one; the paths are in
`backends.answers`, the ways to fail in `backends.faults`.
"""
