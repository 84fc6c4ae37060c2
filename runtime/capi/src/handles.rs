//! The values that cross the interface: element types, ports, tensors.

use std::ffi::{CString, c_char, c_void};

use drupe_format::plan::{ArchivedExpr, ArchivedPlan, ArchivedPort};
use drupe_runtime::DType;

use crate::status::{Fault, c_string};

/// The type of a tensor's elements.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrupeType {
    /// IEEE 754 binary32.
    F32 = 0,
    /// IEEE 754 binary16.
    F16 = 1,
    /// The upper half of a binary32.
    Bf16 = 2,
    /// IEEE 754 binary64.
    F64 = 3,
    /// int8_t
    I8 = 4,
    /// uint8_t
    U8 = 5,
    /// int16_t
    I16 = 6,
    /// uint16_t
    U16 = 7,
    /// int32_t
    I32 = 8,
    /// uint32_t
    U32 = 9,
    /// int64_t
    I64 = 10,
    /// uint64_t
    U64 = 11,
    /// One byte, 0 or 1.
    Bool = 12,
}

impl From<DType> for DrupeType {
    fn from(dtype: DType) -> DrupeType {
        match dtype {
            DType::F32 => DrupeType::F32,
            DType::F16 => DrupeType::F16,
            DType::BF16 => DrupeType::Bf16,
            DType::F64 => DrupeType::F64,
            DType::I8 => DrupeType::I8,
            DType::U8 => DrupeType::U8,
            DType::I16 => DrupeType::I16,
            DType::U16 => DrupeType::U16,
            DType::I32 => DrupeType::I32,
            DType::U32 => DrupeType::U32,
            DType::I64 => DrupeType::I64,
            DType::U64 => DrupeType::U64,
            DType::Bool => DrupeType::Bool,
        }
    }
}

/// An input or output of a program. Its pointers live as long as the program's handle.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DrupePort {
    /// Its name.
    pub name: *const c_char,
    /// Its element type.
    pub dtype: DrupeType,
    /// Number of dimensions.
    pub rank: usize,
    /// The dimensions, outermost first; -1 where the size is decided by the inputs.
    pub shape: *const i64,
}

/// A dense, row-major tensor.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DrupeTensor {
    /// Its element type.
    pub dtype: DrupeType,
    /// Number of dimensions.
    pub rank: usize,
    /// The dimensions, outermost first.
    pub shape: *const i64,
    /// The elements.
    pub data: *const c_void,
    /// Bytes of the elements.
    pub bytes: usize,
}

/// What a [`DrupePort`] points to.
pub(crate) struct OwnedPort {
    name: CString,
    dtype: DrupeType,
    shape: Vec<i64>,
}

impl OwnedPort {
    pub(crate) fn new(plan: &ArchivedPlan, port: &ArchivedPort) -> OwnedPort {
        let size = |expr: &ArchivedExpr| match expr {
            ArchivedExpr::Const(value) => value.to_native(),
            ArchivedExpr::Symbol(_) | ArchivedExpr::Binary(..) => -1,
        };
        OwnedPort {
            name: c_string(&port.name),
            dtype: port.dtype.into(),
            shape: port.shape.iter().map(|dim| size(&plan.exprs[dim.index()])).collect(),
        }
    }

    pub(crate) fn view(&self) -> DrupePort {
        let (name, shape) = (self.name.as_ptr(), self.shape.as_ptr());
        DrupePort { name, dtype: self.dtype, rank: self.shape.len(), shape }
    }
}

/// Stores `value` where the caller wants it.
///
/// # Safety
/// `out` is null or points to writable memory for a `T`.
pub(crate) unsafe fn store<T>(out: *mut T, value: T) -> Result<(), Fault> {
    if out.is_null() {
        return Err(Fault::argument("the pointer for the result is null; pass the address of a variable"));
    }
    // Safety: not null, and by this function's contract.
    unsafe { out.write(value) };
    Ok(())
}

/// The row with this index, or an error that says how many there are.
pub(crate) fn row<'a, T>(rows: &'a [T], index: usize, what: &str) -> Result<&'a T, Fault> {
    rows.get(index).ok_or_else(|| Fault::argument(format!("there is no {what} {index}, only {}", rows.len())))
}

/// `len` values at `start`; null stands for none.
///
/// # Safety
/// If `start` is not null, `len` values at `start` live and do not change during `'a`.
pub(crate) unsafe fn slice<'a, T>(start: *const T, len: usize, what: &str) -> Result<&'a [T], Fault> {
    if len == 0 {
        return Ok(&[]);
    }
    if start.is_null() {
        return Err(Fault::argument(format!("the pointer to {what} is null; pass its address")));
    }
    // Safety: not null, and by this function's contract.
    Ok(unsafe { std::slice::from_raw_parts(start, len) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn element_types_have_the_format_s_numbers() {
        for dtype in DType::ALL {
            assert_eq!(DrupeType::from(dtype) as i64, i64::from(dtype.code()));
        }
    }
}
