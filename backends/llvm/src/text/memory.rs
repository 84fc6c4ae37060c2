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

    /// For a read, into all levels of the cache.
    pub(super) fn prefetch(&mut self, place: Place, offset: Value) {
        let address = self.element(place, offset, self.dtype(place), "");
        self.line(format_args!(
            "\"llvm.intr.prefetch\"({address}) <{{cache = 1 : i32, hint = 3 : i32, rw = 0 : i32}}> : (!llvm.ptr) -> ()"
        ));
    }

    /// The address of an element, and its alignment.
    fn address(&mut self, place: Place, offset: Value, dtype: DType) -> (Ssa, u32) {
        (self.element(place, offset, dtype, "inbounds "), dtype.bits().max(8) / 8)
    }

    fn element(&mut self, place: Place, offset: Value, dtype: DType, bounds: &str) -> Ssa {
        let base = match place {
            Place::Buffer(number) => self.buffers[number],
            Place::Local(number) => self.locals[number],
            Place::Shared(_) => unreachable!("verify_for_cpu allows no shared arrays"),
        };
        let (offset, element) = (self.name(offset), memory_type(dtype));
        self.temp(format_args!(
            "llvm.getelementptr {bounds}{base}[{offset}] : (!llvm.ptr, i64) -> !llvm.ptr, {element}"
        ))
    }

    fn dtype(&self, place: Place) -> DType {
        match place {
            Place::Buffer(number) => self.kernel.buffers[number].dtype,
            Place::Local(number) => self.kernel.locals[number].dtype,
            Place::Shared(number) => self.kernel.shared[number].dtype,
        }
    }
}

/// The type that `ty` has in memory: bools are octets.
fn stored(ty: Type) -> Type {
    if ty.dtype == DType::Bool { ty.with_dtype(DType::U8) } else { ty }
}
