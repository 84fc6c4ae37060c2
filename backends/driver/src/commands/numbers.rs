//! The elements of a tensor of any type, as numbers.

use drupe_runtime::{DType, TensorView};

/// Elements as f64, row-major.
pub(crate) struct Numbers {
    /// The elements.
    pub values: Vec<f64>,
}

impl Numbers {
    /// The elements of `tensor`.
    pub(crate) fn of(tensor: TensorView) -> Numbers {
        let element: fn(&[u8]) -> f64 = match tensor.dtype() {
            DType::F32 => |bytes| f32::from_le_bytes(bytes.try_into().unwrap_or_default()).into(),
            DType::F64 => |bytes| f64::from_le_bytes(bytes.try_into().unwrap_or_default()),
            DType::F16 => |bytes| half::f16::from_le_bytes(bytes.try_into().unwrap_or_default()).into(),
            DType::BF16 => |bytes| half::bf16::from_le_bytes(bytes.try_into().unwrap_or_default()).into(),
            DType::I8 => |bytes| f64::from(bytes[0] as i8),
            DType::U8 | DType::Bool => |bytes| f64::from(bytes[0]),
            DType::I16 => |bytes| i16::from_le_bytes(bytes.try_into().unwrap_or_default()).into(),
            DType::U16 => |bytes| u16::from_le_bytes(bytes.try_into().unwrap_or_default()).into(),
            DType::I32 => |bytes| i32::from_le_bytes(bytes.try_into().unwrap_or_default()).into(),
            DType::U32 => |bytes| u32::from_le_bytes(bytes.try_into().unwrap_or_default()).into(),
            DType::I64 => |bytes| i64::from_le_bytes(bytes.try_into().unwrap_or_default()) as f64,
            DType::U64 => |bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()) as f64,
        };
        Numbers { values: tensor.bytes().chunks_exact(tensor.dtype().size()).map(element).collect() }
    }

    /// Least, greatest and mean, and how many are not numbers.
    pub(crate) fn statistics(&self) -> String {
        let finite = || self.values.iter().copied().filter(|value| !value.is_nan());
        let count = finite().count();
        let mut text = match count {
            0 => "no elements".to_owned(),
            _ => format!(
                "min {:.6}  max {:.6}  mean {:.6}",
                finite().fold(f64::INFINITY, f64::min),
                finite().fold(f64::NEG_INFINITY, f64::max),
                finite().sum::<f64>() / count as f64
            ),
        };
        if count < self.values.len() {
            text += &format!("  NaN {}", self.values.len() - count);
        }
        text
    }

    /// The `count` largest with their positions, largest first.
    pub(crate) fn largest(&self, count: usize) -> Vec<(usize, f64)> {
        let mut order: Vec<(usize, f64)> = self.values.iter().copied().enumerate().collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        order.truncate(count);
        order
    }
}
