//! Imports ONNX models as tensor IR.
