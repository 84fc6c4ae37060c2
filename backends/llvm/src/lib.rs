//! Kernel IR to MLIR to LLVM to machine code.
