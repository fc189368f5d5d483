"""Runs the emulator of AWS, ministack, so that it answers functions at once.

It hands a function its event in two writes, headers and body. By default the second waits until the first is
acknowledged (Nagle's algorithm), and the other side takes 40 ms to do so: for every invocation.
"""

import socketserver
import sys

from ministack.app import main

socketserver.StreamRequestHandler.disable_nagle_algorithm = True
sys.exit(main())
