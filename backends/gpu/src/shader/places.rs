//! Declarations: buffers, dimensions, arrays.

use super::Translator;
use super::code::{Expr, Kind};
use super::held::{part_kind, register};
use crate::GpuError;
use crate::analysis::Layout;
use drupe_ir::DType;
use drupe_kernel as ir;
use drupe_kernel::{Access, Local};
use naga::{
    AddressSpace, ArraySize, GlobalVariable, MemoryDecorations, ResourceBinding, Scalar, StorageAccess, TypeInner,
    VectorSize,
};
use std::num::NonZeroU32;

/// Pointers to buffers and arrays.
#[derive(Default)]
pub(super) struct Places {
    pub buffers: Vec<Expr>,
    pub locals: Vec<Expr>,
    pub shared: Vec<Expr>,
    pub dims: Option<Expr>,
}

const WORD: Kind = Kind { scalar: Scalar::U32, size: None };

impl Translator<'_> {
    /// Declares everything that the kernel names.
    pub fn declare(&mut self) -> Result<(), GpuError> {
        let kernel = self.kernel;
        for (number, buffer) in kernel.buffers.iter().enumerate() {
            self.has_elements(&buffer.name, buffer.dtype)?;
            let space = AddressSpace::Storage { access: self.storage_access(buffer.access) };
            let ty = self.buffer_type(buffer.dtype, self.facts.buffers[number]);
            let pointer = self.bound(&buffer.name, number as u32, space, ty);
            self.places.buffers.push(pointer);
        }
        if kernel.dims > 0 {
            let four = self.code.ty(Kind { scalar: Scalar::I32, size: Some(VectorSize::Quad) });
            let count = NonZeroU32::new(kernel.dims.div_ceil(4) as u32).expect("there is a dimension");
            // A name of its own: it is no type of a shared array, whose strides are taken out of SPIR-V.
            let inner = TypeInner::Array { base: four, size: ArraySize::Constant(count), stride: 16 };
            let ty = self.code.named_type(Some("Dims"), inner);
            self.places.dims = Some(self.bound("dims", kernel.buffers.len() as u32, AddressSpace::Uniform, ty));
        }
        for (number, local) in kernel.locals.iter().enumerate() {
            let name = format!("local{number}");
            let ty = self.array_type(&name, local, self.facts.locals[number])?;
            let pointer = self.code.variable(&name, ty);
            self.places.locals.push(pointer);
        }
        for (number, shared) in kernel.shared.iter().enumerate() {
            let name = format!("shared{number}");
            let ty = self.array_type(&name, shared, self.facts.shared[number])?;
            let pointer = self.code.workgroup_array(&name, ty);
            self.places.shared.push(pointer);
        }
        self.declare_tiles();
        Ok(())
    }

    fn storage_access(&self, access: Access) -> StorageAccess {
        match access {
            Access::Read if self.options.read_only => StorageAccess::LOAD,
            Access::Read | Access::Write | Access::ReadWrite => StorageAccess::LOAD | StorageAccess::STORE,
        }
    }

    fn bound(&mut self, name: &str, binding: u32, space: AddressSpace, ty: naga::Handle<naga::Type>) -> Expr {
        self.code.global(GlobalVariable {
            name: Some(name.into()),
            space,
            binding: Some(ResourceBinding { group: 0, binding }),
            ty,
            init: None,
            memory_decorations: MemoryDecorations::empty(),
        })
    }

    fn has_elements(&self, place: &str, dtype: DType) -> Result<(), GpuError> {
        match dtype {
            DType::I4 | DType::U4 => {
                Err(GpuError::Elements { kernel: self.kernel.name.clone(), place: place.into(), dtype })
            }
            _ => Ok(()),
        }
    }

    fn buffer_type(&mut self, dtype: DType, layout: Layout) -> naga::Handle<naga::Type> {
        let element = part_kind(register(dtype, true), 1);
        let quad = Some(VectorSize::Quad);
        let (base, octets) = match layout {
            Layout::Elements => (self.code.ty(element), element.octets()),
            Layout::Quads => (self.code.ty(Kind { size: quad, ..element }), 4 * element.octets()),
            Layout::Words => (self.code.ty(WORD), 4),
            Layout::WordQuads => (self.code.ty(Kind { size: quad, ..WORD }), 16),
            Layout::AtomicWords => (self.code.named_type(None, TypeInner::Atomic(Scalar::U32)), 4),
            Layout::Narrow => (self.code.ty(Kind { size: Some(VectorSize::Bi), ..WORD }), 8),
        };
        self.code.array(base, ArraySize::Dynamic, octets)
    }

    /// The type of a private or shared array: its elements are what registers hold, but for bools, which are words.
    fn array_type(&mut self, name: &str, array: &Local, layout: Layout) -> Result<naga::Handle<naga::Type>, GpuError> {
        self.has_elements(name, array.dtype)?;
        let element = part_kind(stored(array.dtype, layout), 1);
        let (kind, length) = match layout {
            Layout::Quads => (Kind { size: Some(VectorSize::Quad), ..element }, array.length.div_ceil(4)),
            Layout::Elements | Layout::Words | Layout::WordQuads | Layout::AtomicWords | Layout::Narrow => {
                (element, array.length)
            }
        };
        let error = || GpuError::Empty { kernel: self.kernel.name.clone(), place: name.into() };
        let length = NonZeroU32::new(length).ok_or_else(error)?;
        let base = self.code.ty(kind);
        Ok(self.code.array(base, ArraySize::Constant(length), kind.octets()))
    }

    /// Dimension argument `index`.
    pub fn dim(&mut self, index: usize) -> Expr {
        let dims = self.places.dims.expect("the verifier saw that there are dimensions");
        let four = self.code.component(dims, (index / 4) as u32);
        let pointer = self.code.component(four, (index % 4) as u32);
        self.code.load(pointer)
    }

    /// The layout of a place and the pointer to it.
    pub fn place(&self, place: ir::Place) -> (Layout, Expr) {
        match place {
            ir::Place::Buffer(number) => (self.facts.buffers[number], self.places.buffers[number]),
            ir::Place::Local(number) => (self.facts.locals[number], self.places.locals[number]),
            ir::Place::Shared(number) => (self.facts.shared[number], self.places.shared[number]),
        }
    }
}

/// The scalar that an element of a private or shared array is kept as.
pub(super) fn stored(dtype: DType, layout: Layout) -> Scalar {
    match dtype {
        DType::Bool => Scalar::U32,
        dtype => register(dtype, layout != Layout::Narrow),
    }
}
