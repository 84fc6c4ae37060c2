//! Loads and stores.

use super::{Mlir, Ssa, Writer, memory_type};
use drupe_ir::DType;
use drupe_kernel::{Place, Type, Value};

impl Writer<'_> {
    pub(super) fn load(&mut self, place: Place, offset: Value, ty: Type) -> Ssa {
        let (address, octets) = self.address(place, offset, ty.dtype);
        let stored = stored(ty);
        let loaded = self
            .temp(format_args!("llvm.load {address} {{alignment = {octets} : i64}} : !llvm.ptr -> {}", Mlir(stored)));
        self.cast(loaded, stored, ty.dtype)
    }

    pub(super) fn store(&mut self, place: Place, offset: Value, value: Value) {
        let ty = self.ty(value);
        let (address, octets) = self.address(place, offset, ty.dtype);
        let stored = stored(ty);
        let value = self.cast(self.name(value), ty, stored.dtype);
        self.line(format_args!(
            "llvm.store {value}, {address} {{alignment = {octets} : i64}} : {}, !llvm.ptr",
            Mlir(stored)
        ));
    }

    /// The address of an element, and its alignment.
    fn address(&mut self, place: Place, offset: Value, dtype: DType) -> (Ssa, u32) {
        let base = match place {
            Place::Buffer(number) => self.buffers[number],
            Place::Local(number) => self.locals[number],
        };
        let (offset, element) = (self.name(offset), memory_type(dtype));
        let address = self.temp(format_args!(
            "llvm.getelementptr inbounds {base}[{offset}] : (!llvm.ptr, i64) -> !llvm.ptr, {element}"
        ));
        (address, dtype.bits().max(8) / 8)
    }
}

/// The type that `ty` has in memory: bools are octets.
fn stored(ty: Type) -> Type {
    if ty.dtype == DType::Bool { ty.with_dtype(DType::U8) } else { ty }
}
