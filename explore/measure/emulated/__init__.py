"""ARM processors emulated by QEMU: outputs of model files on other code paths, and instruction counts.

`setup` installs an ARM user space in a folder, `guest` runs in it, and `emulator` starts `guest`. Nothing here is a
latency: an emulator has neither the caches nor the clocks of the processor.
"""
