"""The extended header of kinds FEI1 and FEI2: the voltage, which the main header of an MRC file does not know.

Only what has one meaning is taken. The dose is not: the format leaves open whether it is that of a frame
or of the exposure.
"""

import struct

from daemon.formats.byte_source import ByteOrder

FEI_KINDS = frozenset({b"FEI1", b"FEI2"})
LEAST_BYTES = 100
"""How much of the first record must be there."""

_BITMASK_OFFSET, _VOLTAGE_OFFSET = 8, 84
_HAS_VOLTAGE = 1 << 5
_PLAUSIBLE_KV = (20.0, 3000.0)


def find_voltage(record: bytes, byte_order: ByteOrder) -> float | None:
    """Return the accelerating voltage in kV of a first record, or None where it is not filled in."""
    if len(record) < LEAST_BYTES:
        return None
    (present,) = struct.unpack_from(f"{byte_order}I", record, _BITMASK_OFFSET)
    (voltage_v,) = struct.unpack_from(f"{byte_order}d", record, _VOLTAGE_OFFSET)
    voltage_kv = voltage_v / 1e3
    if not present & _HAS_VOLTAGE or not _PLAUSIBLE_KV[0] <= voltage_kv <= _PLAUSIBLE_KV[1]:
        return None
    return float(f"{voltage_kv:.6g}")
