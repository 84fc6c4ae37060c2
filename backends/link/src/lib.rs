//! Turns object files into flat position-independent code images.
