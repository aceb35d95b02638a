"""The meaning of foreign worlds: units, signs, axes and layouts, to and from domain."""
