"""Functions of KVM by the return addresses in stall records."""

import numpy as np

from sldtrace.capture.bpf.callers import Callers
from tests.analyzers.synthetic import array

FUNCTIONS = [(0, "kvm_arch_init"), (0x40, "kvm_vcpu_ioctl"), (0x900, "kvm_swap_active_memslots")]


def stalls(*callers: int) -> np.ndarray:
    return array("stall", [{"caller": caller} for caller in callers])


def test_a_caller_is_the_function_that_its_return_address_lies_in() -> None:
    assert Callers(FUNCTIONS).update(stalls(0x3F, 0x40, 0x8FF, 0xFFFF)) == {
        str(0x3F): "kvm_arch_init",
        str(0x40): "kvm_vcpu_ioctl",
        str(0x8FF): "kvm_vcpu_ioctl",
        str(0xFFFF): "kvm_swap_active_memslots",
    }


def test_a_new_one_gives_the_fact_with_all() -> None:
    callers = Callers(FUNCTIONS)
    assert callers.update(stalls(0x50, 0x50)) == {str(0x50): "kvm_vcpu_ioctl"}
    assert callers.update(stalls(0x50)) is None
    assert callers.update(stalls(0x900)) == {str(0x50): "kvm_vcpu_ioctl", str(0x900): FUNCTIONS[2][1]}


def test_nothing_is_named_where_the_functions_are_not_known() -> None:
    assert Callers([]).update(stalls(0x50)) is None
