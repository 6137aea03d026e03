"""Where the service keeps logs; the only door to its database driver.

`sqlite` is the one store there is; an interface comes with the second.
"""
