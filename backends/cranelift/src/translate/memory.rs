//! Loads and stores.

use super::Translator;
use super::lanes::{Held, Shape};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use drupe_ir::DType;
use drupe_kernel as ir;
use drupe_kernel::Place;

/// Accesses are in bounds, and aligned to an element only.
fn access() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl Translator<'_> {
    /// Word `number` of the array at `base`: an address or a dimension.
    pub fn word(&mut self, base: Value, number: usize) -> Value {
        self.b.ins().load(types::I64, MemFlagsData::trusted().with_readonly(), base, 8 * number as i32)
    }

    pub fn load(&mut self, place: Place, offset: ir::Value, ty: ir::Type) -> Held {
        let address = self.address(place, offset, ty.dtype);
        let bools = ty.dtype == DType::Bool;
        let shape = if bools { Shape::of(ty).with_lane(types::I8) } else { Shape::of(ty) };
        let octets = shape.lanes * shape.lane.bytes() as usize;
        let part = shape.part();
        let parts = match octets {
            _ if shape.lanes == 1 => vec![self.b.ins().load(part, access(), address, 0)],
            2 => {
                let loaded = self.b.ins().uload16(types::I32, access(), address, 0);
                let vector = self.b.ins().scalar_to_vector(types::I32X4, loaded);
                vec![self.as_type(vector, part)]
            }
            4 => {
                let loaded = self.b.ins().load(types::F32, access(), address, 0);
                let vector = self.b.ins().scalar_to_vector(types::F32X4, loaded);
                vec![self.as_type(vector, part)]
            }
            8 => {
                let loaded = self.b.ins().load(types::F64, access(), address, 0);
                let vector = self.b.ins().scalar_to_vector(types::F64X2, loaded);
                vec![self.as_type(vector, part)]
            }
            _ => (0..shape.parts()).map(|n| self.b.ins().load(part, access(), address, 16 * n as i32)).collect(),
        };
        let loaded = Held { shape, parts };
        if !bools {
            return loaded;
        }
        let zero = self.constant(shape, 0);
        self.map2(&loaded, &zero, types::I8, |t, a, zero| t.b.ins().icmp(IntCC::NotEqual, a, zero))
    }

    pub fn store(&mut self, place: Place, offset: ir::Value, value: ir::Value) {
        let dtype = self.dtype(value);
        let address = self.address(place, offset, dtype);
        let mut held = self.held(value).clone();
        if dtype == DType::Bool && held.shape.lanes > 1 {
            let mask = self.mask(&held, types::I8);
            let one = self.constant(mask.shape, 1);
            held = self.map2(&mask, &one, types::I8, |t, a, one| t.b.ins().band(a, one));
        }
        let octets = held.shape.lanes * held.shape.lane.bytes() as usize;
        let first = held.parts[0];
        let whole = match octets {
            _ if held.shape.lanes == 1 => None,
            2 => Some(types::I16X8),
            4 => Some(types::F32X4),
            8 => Some(types::F64X2),
            _ => None,
        };
        match whole {
            Some(ty) => {
                let vector = self.as_type(first, ty);
                let stored = self.b.ins().extractlane(vector, 0);
                self.b.ins().store(access(), stored, address, 0);
            }
            None => {
                for (number, part) in held.parts.iter().enumerate() {
                    self.b.ins().store(access(), *part, address, 16 * number as i32);
                }
            }
        }
    }

    /// The address of an element.
    fn address(&mut self, place: Place, offset: ir::Value, dtype: DType) -> Value {
        let base = match place {
            Place::Buffer(number) => self.buffers[number],
            Place::Local(number) => self.b.ins().stack_addr(types::I64, self.locals[number], 0),
            Place::Shared(_) => unreachable!("verify_for_cpu allows no shared arrays"),
        };
        let size = dtype.bytes_of(1) as i64;
        match self.known[offset.0 as usize] {
            Some(0) => base,
            Some(known) => {
                let distance = self.b.ins().iconst(types::I64, known * size);
                self.b.ins().iadd(base, distance)
            }
            None => {
                let offset = self.scalar(offset);
                let shift = self.b.ins().iconst(types::I64, i64::from(size.trailing_zeros()));
                let distance = self.b.ins().ishl(offset, shift);
                self.b.ins().iadd(base, distance)
            }
        }
    }
}
