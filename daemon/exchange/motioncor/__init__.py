"""MotionCor2 and MotionCor3: their command and their logs."""
