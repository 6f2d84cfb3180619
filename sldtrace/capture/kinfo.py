"""What the kernel says of a loaded BPF program: struct bpf_prog_info, as far as it is used."""

import ctypes
from typing import Any

# include/uapi/linux/bpf.h, struct bpf_prog_info: the layout is part of the user-space ABI and only grows.
_RECURSION_MISSES = 208
_SIZE = 224


def recursion_misses(library: Any, fd: int) -> int:
    """`recursion_misses` of the program behind `fd`; 0 where the kernel does not tell (before 5.12).

    library: libbcc, which hands the request on (BPF_OBJ_GET_INFO_BY_FD).
    """
    info = (ctypes.c_uint8 * _SIZE)()
    size = ctypes.c_uint32(_SIZE)
    if library.bpf_obj_get_info(fd, ctypes.byref(info), ctypes.byref(size)) < 0:
        return 0
    return int.from_bytes(bytes(info[_RECURSION_MISSES : _RECURSION_MISSES + 8]), "little")
