"""Steps whose work a program of others may do: its parameters, its run, and what MotionCor and CTFFIND leave."""
