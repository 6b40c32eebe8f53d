"""The microcontroller without the hardware: its real program in a simulated processor."""
