"""How EER compressions lay out their bits.

A hardware frame is a bit stream, least significant bit first, of tokens: the number of empty pixels
before an event, then the event's place inside its pixel (x, then y, each with its top bit inverted).
A run length of all ones stands for that many empty pixels and no event. The stream closes with one
more run length that lands exactly behind the last pixel.
"""

from dataclasses import dataclass

GRID = 4
"""The finest grid that places are kept on, in cells per pixel and axis."""


@dataclass(frozen=True)
class EerScheme:
    """Bit widths of one compression: run length, place in x, place in y; `skip_bits`: what a bare run length spends."""

    compression: int
    run_bits: int
    x_bits: int
    y_bits: int
    skip_bits: int

    @property
    def longest_run(self) -> int:
        """The run length that stands for no event."""
        return (1 << self.run_bits) - 1

    @property
    def is_in_range(self) -> bool:
        """Whether the widths are such as any camera may use."""
        return 5 <= self.run_bits <= 14 and 1 <= self.x_bits <= 4 and 1 <= self.y_bits <= 4

    def can_render(self, upsampling: int) -> bool:
        """Whether places are stored finely enough, and in a way that can be read, for a grid finer by `upsampling`."""
        needed, widest = {1: (1, 4), 2: (1, 2), 4: (2, 2)}[upsampling]
        return all(needed <= bits <= widest for bits in (self.x_bits, self.y_bits))


EER_65000 = EerScheme(65000, 8, 2, 2, skip_bits=12)
"""Every token has 12 bits, a bare run length too."""
EER_65001 = EerScheme(65001, 7, 2, 2, skip_bits=7)
VARIABLE = 65002
"""The compression whose bit widths stand in tags of each page."""

EER_COMPRESSIONS = frozenset({65000, 65001, VARIABLE})
"""TIFF compression codes of event data."""


def variable_scheme(run_bits: int, x_bits: int, y_bits: int) -> EerScheme:
    """Return the scheme of compression 65002 with these widths."""
    return EerScheme(VARIABLE, run_bits, x_bits, y_bits, skip_bits=run_bits)
