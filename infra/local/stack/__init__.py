"""The local stack: AWS's services emulated on this machine, with Bindery deployed into them."""
