"""The local stack: Bindery deployed to emulated AWS services on this machine."""
